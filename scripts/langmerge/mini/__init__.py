"""The miniature world: corpora, benchmarks and instructions in any CLDR language, made from `babel`'s data alone.

`phrases` says what can be said (meanings, and which split each belongs to), `cldr` says it in a language, and `corpus`, `benchmarks` and
`instructions` make training text, lm-eval tasks and chat turns of it. Everything is determined by a language's file, the files of the languages that
it is translated from, and the seed.
"""
