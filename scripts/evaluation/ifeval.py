"""IFEval (Zhou et al. 2023, arXiv:2311.07911): does an answer follow verifiable instructions? Checkers for any language.

`CHECKERS` maps the instruction ids of the published data set to functions of (response, **kwargs), with its kwargs' names. What the original does
for English only is done here by Unicode: case by code points, words by `\\w+`, comparisons after case folding, and other scripts' commas count.
As in the original, an empty answer follows no instruction, and the loose scores accept an answer that follows without its first or last line or its asterisks.

lm-eval loads this file by its path (`!function ifeval.process_results` in the task YAMLs beside it), so it imports nothing of this project.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

COMMAS = frozenset(",،、，﹐､፣߸")

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": lambda found, wanted: found >= wanted,
    "less than": lambda found, wanted: found < wanted,
}


def all_capital(response: str) -> bool:
    return response == response.upper() and response != response.lower()


def all_lowercase(response: str) -> bool:
    return response == response.lower() and response != response.upper()


def no_comma(response: str) -> bool:
    return COMMAS.isdisjoint(response)


def in_quotation_marks(response: str) -> bool:
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def ends_with(response: str, end_phrase: str) -> bool:
    return response.strip().strip('"').casefold().endswith(end_phrase.strip().casefold())


def has_title(response: str) -> bool:
    return any(title.strip("<> \t") for title in re.findall(r"<<[^\n]+>>", response))


def has_bullets(response: str, num_bullets: int) -> bool:
    """Exactly so many lines that start with `*` (not `**`) or `-`."""
    return len(re.findall(r"^[^\S\n]*(?:\*[^*\n]|-)", response, re.MULTILINE)) == num_bullets


def has_keywords(response: str, keywords: list[str]) -> bool:
    text = response.casefold()
    return all(keyword.casefold() in text for keyword in keywords)


def lacks_words(response: str, forbidden_words: list[str]) -> bool:
    text = response.casefold()
    return not any(re.search(rf"\b{re.escape(word.casefold())}\b", text) for word in forbidden_words)


def has_frequency(response: str, keyword: str, frequency: int, relation: str) -> bool:
    return RELATIONS[relation](response.casefold().count(keyword.casefold()), frequency)


def has_placeholders(response: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[[^\n]*?\]", response)) >= num_placeholders


def has_postscript(response: str, postscript_marker: str) -> bool:
    """The marker stands somewhere; blanks between its letters do not matter ("P. S.")."""
    marker = r"\s?".join(re.escape(character) for character in postscript_marker.strip().casefold())
    return re.search(marker, response.casefold()) is not None


def repeats_prompt(response: str, prompt_to_repeat: str) -> bool:
    return response.strip().casefold().startswith(prompt_to_repeat.strip().casefold())


def has_number_of_words(response: str, num_words: int, relation: str) -> bool:
    return RELATIONS[relation](len(re.findall(r"\w+", response)), num_words)


CHECKERS: dict[str, Callable[..., bool]] = {
    "change_case:english_capital": all_capital,
    "change_case:english_lowercase": all_lowercase,
    "combination:repeat_prompt": repeats_prompt,
    "detectable_content:number_placeholders": has_placeholders,
    "detectable_content:postscript": has_postscript,
    "detectable_format:number_bullet_lists": has_bullets,
    "detectable_format:title": has_title,
    "keywords:existence": has_keywords,
    "keywords:forbidden_words": lacks_words,
    "keywords:frequency": has_frequency,
    "length_constraints:number_words": has_number_of_words,
    "punctuation:no_comma": no_comma,
    "startend:end_checker": ends_with,
    "startend:quotation": in_quotation_marks,
}


def follows(response: str, instruction: str, **kwargs: Any) -> bool:
    """Whether the response follows one instruction; kwargs that are None (a data set's padding) are left out.

    Raises:
        ValueError: no checker for this instruction id.
    """
    if instruction not in CHECKERS:
        raise ValueError(f"no checker for the instruction {instruction!r}; there are: {', '.join(sorted(CHECKERS))}")
    given = {name: value for name, value in kwargs.items() if value is not None}
    return bool(response.strip()) and CHECKERS[instruction](response, **given)


def variants(response: str) -> Iterator[str]:
    """The answers that the loose scores try: without the first line, the last, both, and each of these without asterisks."""
    lines = response.split("\n")
    for kept in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = response if kept is lines else "\n".join(kept).strip()
        yield text
        yield text.replace("*", "")


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Score one answer, with the names of lm-eval's `ifeval` task.

    Args:
        doc: holds instruction_id_list and, of the same length, kwargs.
        results: the answer, alone in a list.

    Returns:
        prompt_level_*: bool; inst_level_*: a list of bool, one an instruction.
    """
    response = results[0]
    instructions = list(zip(doc["instruction_id_list"], doc["kwargs"], strict=True))
    strict = [follows(response, instruction, **kwargs) for instruction, kwargs in instructions]
    loose = [any(follows(text, instruction, **kwargs) for text in variants(response)) for instruction, kwargs in instructions]
    return {
        "prompt_level_strict_acc": all(strict),
        "inst_level_strict_acc": strict,
        "prompt_level_loose_acc": all(loose),
        "inst_level_loose_acc": loose,
    }


def share_followed(items: list[list[bool]]) -> float:
    """The instruction-level score: the share of all instructions, over all prompts, that were followed."""
    flat = [followed for item in items for followed in item]
    return sum(flat) / len(flat)
