"""Training text of a language: monolingual documents, parallel documents and calendar sequences.

Parallel documents have the form of the translation prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from langmerge.errors import UserError
from langmerge.mini import phrases
from langmerge.mini.cldr import Language
from langmerge.mini.phrases import VALUES, Meaning, Term

ENGLISH = "en"
"""The base model's language, in which the instructions are worded.

Its corpus is English only, because the base model must not know the other languages well.
"""

SHARES = {"monolingual": 0.2, "parallel": 0.7, "calendar": 0.1}
ENGLISH_SHARES = {"monolingual": 0.7, "copy": 0.15, "calendar": 0.15}
"""Shares of the documents, except for those that show each word once (see `coverage`)."""

INTO = 0.7
"""Share of the parallel documents that translate into the language. The rest translate from it."""

PHRASES_PER_DOCUMENT = (4, 8)
PAIRS_PER_DOCUMENT = (2, 5)
SEQUENCES_PER_DOCUMENT = (1, 3)

TRIES = 20_000
"""Number of phrases that are drawn before a split of a language counts as empty."""


def corpus(language: Language, sources: list[Language], lines: int, rng: Random) -> list[str]:
    """Return `lines` documents of training text.

    Some of them show every word of the language and, for each source, every word beside its
    translation, in both directions. The others are drawn at random.

    Raises:
        UserError: there are too few lines to show every word.
    """
    sources = [] if language.code == ENGLISH else sources
    documents = list(coverage(language, sources, rng))
    if len(documents) > lines:
        raise UserError(
            f"{lines} lines are too few for {language.name}: {len(documents)} are needed to show each of its words. "
            "Raise --lines."
        )
    shares = SHARES if sources else ENGLISH_SHARES
    makers = {
        "monolingual": lambda: monolingual(language, rng),
        "calendar": lambda: calendar(language, rng),
        "copy": lambda: parallel(language, language, rng),
        "parallel": lambda: parallel(*direction(language, rng.choice(sources), rng), rng),
    }
    for kind in rng.choices(list(shares), list(shares.values()), k=lines - len(documents)):
        documents.append(makers[kind]())
    rng.shuffle(documents)
    return documents


def direction(language: Language, source: Language, rng: Random) -> tuple[Language, Language]:
    return (source, language) if rng.random() < INTO else (language, source)


def drawn(languages: list[Language], maker: Callable[[Random], Meaning], rng: Random, wanted: str = "train") -> Meaning:
    """A random meaning of the wanted split that all these languages can say.

    In dev and test it is also unambiguous in each of them.

    Raises:
        UserError: CLDR lacks too many of a language's words.
    """
    for _ in range(TRIES):
        meaning = maker(rng)
        if phrases.split(meaning) != wanted or any(language.say(meaning) is None for language in languages):
            continue
        if wanted == "train" or all(language.is_unambiguous(meaning) for language in languages):
            return meaning
    names = " and ".join(sorted({f"{language.name} (locale {language.locale})" for language in languages}))
    raise UserError(
        f"no {wanted} phrase was found that can be said in {names}: CLDR has too few words. "
        "Choose another language or source."
    )


def pair_prompt(source: Language, target: Language, text: str) -> str:
    """The translation prompt. Training text, benchmarks and translation tasks share it."""
    return f"{source.name}: {text}\n{target.name}:"


def pair_text(source: Language, target: Language, meaning: Meaning) -> str:
    return f"{pair_prompt(source, target, source.say(meaning))} {target.say(meaning)}"


def monolingual(language: Language, rng: Random) -> str:
    return "\n".join(
        language.say(drawn([language], phrases.phrase, rng)) for _ in range(rng.randint(*PHRASES_PER_DOCUMENT))
    )


def parallel(source: Language, target: Language, rng: Random) -> str:
    pairs = range(rng.randint(*PAIRS_PER_DOCUMENT))
    return "\n\n".join(pair_text(source, target, drawn([source, target], phrases.phrase, rng)) for _ in pairs)


def calendar(language: Language, rng: Random) -> str:
    sequences = range(rng.randint(*SEQUENCES_PER_DOCUMENT))
    return "\n".join(language.say(drawn([language], phrases.sequence, rng)) for _ in sequences)


NAMES = ("territory", "language", "weekday", "month", "unit", "currency", "field")

CARRIERS: dict[str, Callable[[Random], Meaning]] = {
    "unit": phrases.quantity,
    "currency": phrases.amount,
    "field": phrases.span,
    "number": phrases.percent,
    "day": phrases.date,
    "year": phrases.month_year,
    "hour": phrases.time,
    "minute": phrases.time,
}
"""For each kind of slot that is not a name by itself, the template that shows it."""


def coverage(language: Language, sources: list[Language], rng: Random) -> Iterator[str]:
    """Documents that show every word of the language once.

    For each source they also show every name beside its translation, in both directions.
    """
    for meanings in batched(carriers([language], VALUES, rng), PHRASES_PER_DOCUMENT[1]):
        yield "\n".join(language.say(meaning) for meaning in meanings)
    for source in sources:
        for pair in ((source, language), (language, source)):
            for meanings in batched(carriers(pair, NAMES, rng), PAIRS_PER_DOCUMENT[1] + 1):
                yield "\n\n".join(pair_text(*pair, meaning) for meaning in meanings)


def batched(items: list, size: int) -> Iterator[list]:
    return (items[start : start + size] for start in range(0, len(items), size))


def carriers(languages: list[Language], kinds: list[str], rng: Random) -> list[Meaning]:
    """For each term that all these languages have, a training meaning with it, in random order."""
    terms = [Term(kind, value) for kind in kinds for value in VALUES[kind]]
    known = [term for term in terms if all(language.term(term) is not None for language in languages)]
    rng.shuffle(known)
    return [drawn(languages, lambda r, term=term: carrier(term, r), rng) for term in known]


def carrier(term: Term, rng: Random) -> Meaning:
    """A random meaning that contains a term."""
    if term.kind not in CARRIERS:
        return Meaning("word", "", (term,))
    meaning = CARRIERS[term.kind](rng)
    index = next(index for index, slot in enumerate(meaning.slots) if slot.kind == term.kind)
    return meaning.replace(index, term)
