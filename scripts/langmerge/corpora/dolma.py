"""The Gopher and C4 rules as dolma 1.2.1 computes them, which "Merge and Conquer" used.

dolma cannot be installed beside langmerge's pinned packages, and datatrove's filters of the same
names differ: in words (datatrove's come from a splitter, dolma's from spaces), in the median
against the mean of their lengths, in what counts as a repeated n-gram. tests/corpora compares these
with values recorded from dolma.

The thresholds are those of Rae et al. 2021 (arXiv 2112.11446, section A1.1 and Table A1), as the
mixer configuration of Dolma CCCC in dolma's repository has them. The stop words, English in dolma,
are those of the language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from statistics import median

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

BULLETS = ("*", "-")
ELLIPSIS = "…"

MOST_COMMON = {2: 0.20, 3: 0.18, 4: 0.16}
"""Largest share of the characters that the most common n-gram may have."""

REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
"""Largest share of the n-grams' characters that n-grams which occur more than once may have."""

MAX_REPEATED_LINES = 0.3
"""Largest share of the lines, and of the characters, that repeated lines may have."""

BASE = np.uint64(0x9E3779B97F4A7C15)
"""Of the polynomial hash of an n-gram, modulo 2^64. Odd, so that no word's share of it is lost."""


def quality(text: str, stop_words: Iterable[str]) -> dict[str, float]:
    """What the tagger gopher_v2 says of a text's words and lines.

    Shares are between 0 and 1; `stop_words` counts every occurrence, capitals as written.
    """
    words = text.split()
    wanted = frozenset(stop_words)
    lines = re.split(r"\n+", text)
    count = max(len(words), 1)
    return {
        "words": len(words),
        "median_length": float(median(map(len, words))) if words else 0.0,
        "symbols": sum("#" in word or "…" in word for word in words) / count,
        "alphabetic": sum(word.isalpha() or any(map(str.isalpha, word)) for word in words) / count,
        "stop_words": sum(word in wanted for word in words),
        "bullets": sum(line.startswith(BULLETS) for line in lines) / len(lines),
        "ellipses": sum(line.endswith(ELLIPSIS) for line in lines) / len(lines),
    }


def repetition(text: str) -> dict[str, float]:
    """What the tagger gopher_v2 says of a text's repeated lines and n-grams, all shares.

    `lines` and `line_characters` are of lines that occur more than once; `most_common_2` to 4 and
    `repeated_5` to 10 of n-grams. An n-gram that the text is too short for has no entry. The share
    of the lines' characters may exceed 1: dolma divides it by the characters that are not space.
    """
    words = text.split()
    characters = max(sum(map(len, words)), 1)
    lines = Counter(re.split(r"\n+", text))
    repeated = {line: count for line, count in lines.items() if count > 1}
    found = {
        "lines": sum(repeated.values()) / lines.total(),
        "line_characters": sum(len(line) * count for line, count in repeated.items()) / characters,
    }
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words), 1)}
    ids = np.fromiter((numbers[word] for word in words), np.uint64, len(words))
    ends = np.concatenate([[0], np.cumsum([len(word) for word in words], dtype=np.int64)])
    hashes = np.zeros(len(words), np.uint64)
    for n in range(1, 11):
        if len(words) < n:
            break
        # The hashes of the n-grams that start at each word, from those that are one word shorter.
        hashes = hashes[: len(words) - n + 1] * BASE + ids[n - 1 :]
        if n == 1:
            continue
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        of_all = counts * (ends[first + n] - ends[first])
        if n in MOST_COMMON:
            most = counts == counts.max()
            found[f"most_common_{n}"] = of_all[most][first[most].argmin()] / characters
        else:
            found[f"repeated_{n}"] = of_all[counts > 1].sum() / max(of_all.sum(), 1)
    return found


class GopherQuality(BaseFilter):
    """Drops texts that are too short, too long, or hardly words of the language."""

    name = "gopher_quality: dolma"

    def __init__(self, stop_words: Iterable[str]) -> None:
        super().__init__()
        self.stop_words = frozenset(stop_words)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        found = quality(doc.text, self.stop_words)
        broken = {
            "fewer than 50 words": found["words"] < 50,
            "more than 100,000 words": found["words"] > 100_000,
            "median word shorter than 3": found["median_length"] < 3,
            "median word longer than 10": found["median_length"] > 10,
            "symbols in more than 0.1 of the words": found["symbols"] > 0.1,
            "letters in less than 0.8 of the words": found["alphabetic"] < 0.8,
            "fewer than 2 stop words": found["stop_words"] < 2,
            "more than 0.9 of the lines are bullets": found["bullets"] > 0.9,
            "more than 0.3 of the lines end in an ellipsis": found["ellipses"] > 0.3,
        }
        return decision(broken)


class GopherRepetition(BaseFilter):
    """Drops texts that repeat lines or n-grams."""

    name = "gopher_repetition: dolma"

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        found = repetition(doc.text)
        return decision(
            {
                "repeated lines": found["lines"] > MAX_REPEATED_LINES,
                "characters of repeated lines": found["line_characters"] > MAX_REPEATED_LINES,
                **{f"most common {n}-gram": found.get(f"most_common_{n}", 0) > most for n, most in MOST_COMMON.items()},
                **{f"repeated {n}-grams": found.get(f"repeated_{n}", 0) > most for n, most in REPEATED.items()},
            }
        )


class C4(BaseFilter):
    """Drops texts with a curly bracket, "lorem ipsum" or "javascript", as Dolma CCCC does.

    dolma's tagger c4_v2 also marks lines without a full stop and English words of a list; Dolma
    CCCC uses neither.
    """

    name = "c4: dolma"

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        text = doc.text.lower()
        return decision(
            {"curly bracket": "{" in text, "lorem ipsum": "lorem ipsum" in text, "javascript": "javascript" in text}
        )


def decision(broken: dict[str, bool]) -> bool | tuple[bool, str]:
    """What a filter of datatrove returns: the first rule that is broken, or True."""
    reason = next((rule for rule, value in broken.items() if value), None)
    return (False, reason) if reason else True
