"""The miniature world: corpora, benchmarks and instructions in any language of CLDR.

All data come from the package `babel`. `phrases` says what can be said (meanings) and which split
each meaning belongs to, `cldr` says a meaning in a language, and `corpus`, `benchmarks` and
`instructions` make training text, lm-eval tasks and chat turns of them. Everything is determined by
a language's file, the files of the languages that it is translated from, and the seed.
"""
