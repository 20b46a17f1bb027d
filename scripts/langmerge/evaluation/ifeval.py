"""IFEval (Zhou et al. 2023, arXiv:2311.07911): does an answer follow verifiable instructions?

This module has the scores of a task.

`ifeval_checkers` has the checkers, one set for every language. What no standard knows of a language
(which phrases an answer may choose from, whether a section's number comes before its label) is in a
small table per language, ifeval_languages.yaml. As in the original, an empty answer follows no
instruction, and the loose scores accept an answer that follows without its first or last line or
its asterisks.

The tasks' YAML files call this module by way of tasks/ifeval/scoring.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langmerge.evaluation.ifeval_checkers import CHECKERS, RESPONSE_LANGUAGE
from langmerge.evaluation.ifeval_text import Answer, Table, normal


def published_id(instruction: str) -> str:
    """The id in the English data set.

    Translations write `es:startend:quotation`, or `es:change_case:spanish_capital` for
    change_case:english_capital.
    """
    plain = ":".join(instruction.split(":")[-2:])
    return re.sub(r"^(change_case):[a-z]+_(capital|lowercase)$", r"\1:english_\2", plain)


def normalised(value: Any) -> Any:
    """A kwarg of the data set with its texts in normal form."""
    if isinstance(value, list):
        return [normalised(item) for item in value]
    return normal(value) if isinstance(value, str) else value


def follows(response: str, instruction: str, table: Table | None = None, **kwargs: Any) -> bool:
    """Whether the response follows one instruction.

    Kwargs that are None (a data set's padding) are left out.

    Raises:
        ValueError: no checker for this instruction id.
    """
    name = published_id(instruction)
    if name not in CHECKERS:
        raise ValueError(f"no checker for the instruction {instruction!r}; there are: {', '.join(sorted(CHECKERS))}")
    given = {key: normalised(value) for key, value in kwargs.items() if value is not None}
    return bool(response.strip()) and CHECKERS[name](Answer(normal(response), table or Table()), **given)


def variants(response: str) -> Iterator[str]:
    """The answers that the loose scores try.

    They are the response without the first line, the last, both and neither, and each of these
    without asterisks.
    """
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
        prompt_level_*: bool; inst_level_*: a list of bool, one per instruction.
    """
    response = results[0]
    instructions = list(zip(doc["instruction_id_list"], doc["kwargs"], strict=True))
    strict = [follows(response, name, table, **kwargs) for name, kwargs in instructions]
    loose = [any(follows(text, name, table, **kwargs) for text in variants(response)) for name, kwargs in instructions]
    return {
        "prompt_level_strict_acc": all(strict),
        "inst_level_strict_acc": strict,
        "prompt_level_loose_acc": all(loose),
        "inst_level_loose_acc": loose,
    }


def without_response_language(dataset: Any) -> Any:
    """The documents (a datasets.Dataset) without the instructions to answer in another language.

    Prompts that ask for nothing else are left out too. The papers do so: 803 of 834 instructions
    remain. A merge should keep its language; whether it can also answer in Kannada is not the
    question. The other prompts still ask for such an answer: `response_language` says in which
    language, "" where they do not, so that language fidelity can leave them out.
    """

    def less(doc: dict[str, Any]) -> dict[str, Any]:
        instructions = [*zip(doc["instruction_id_list"], doc["kwargs"], strict=True)]
        kept = [(name, kwargs) for name, kwargs in instructions if published_id(name) != RESPONSE_LANGUAGE]
        other = [kwargs["language"] for name, kwargs in instructions if published_id(name) == RESPONSE_LANGUAGE]
        return {
            "instruction_id_list": [name for name, _ in kept],
            "kwargs": [kwargs for _, kwargs in kept],
            "response_language": next(iter(other), ""),
        }

    return dataset.map(less).filter(lambda doc: bool(doc["instruction_id_list"]))


def share_followed(items: list[list[bool]]) -> float:
    """The instruction-level score: the share of followed instructions, over all prompts."""
    flat = [followed for item in items for followed in item]
    return sum(flat) / len(flat)
