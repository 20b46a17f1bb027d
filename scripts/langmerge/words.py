"""Words of a text in any language, by Unicode's rules (UAX #29) as ICU tailors them.

Filters of corpora go by them, Table 1 counts them, and a tokenizer's fertility is what it makes of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from icu4py.breakers import WordBreaker


def split_words(text: str, language: str) -> list[str]:
    """Words, numbers and single punctuation marks, without the space between them."""
    return [word for word in WordBreaker(text, language) if not word.isspace()]


def count_words(text: str, language: str) -> int:
    """The number of words that contain a letter or a digit."""
    return sum(word.isalnum() or any(map(str.isalnum, word)) for word in split_words(text, language))


def fertility(
    texts: Sequence[str], language: str, encode: Callable[[Sequence[str]], Sequence[Sequence[int]]]
) -> dict[str, int]:
    """Words of texts, and the tokens that a tokenizer makes of them, without any for their
    beginning and end: {words, tokens}.
    """
    return {
        "words": sum(count_words(text, language) for text in texts),
        "tokens": sum(map(len, encode(texts))),
    }
