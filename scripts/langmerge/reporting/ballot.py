"""A page for blind votes: two answers to each prompt, without the names of their models."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langmerge.errors import UserError
from langmerge.measures import MEASURES, VOTES
from langmerge.reporting.inputs import Answered
from langmerge.reporting.pages import page
from langmerge.reporting.samples import answers_file
from langmerge.reporting.shown_answers import Key, is_written, prompt_of, selected

MEASURES_VOTED = MEASURES[VOTES].answers_of
"""Whose answers are shown: those of the first measure that the models have in the language."""


class Ballot(NamedTuple):
    """A page for voters, and what tells whose answers it shows.

    Attributes:
        name: of both files, without ending.
        key: {page, run, language, cells, items, identical}; items: id -> {task, document, part,
            left, right}; identical: the same of pairs with equal answers, which are not shown.
    """

    name: str
    html: str
    key: dict[str, Any]


def ballot(
    run: str, language: str, language_name: str, answered: Mapping[str, Sequence[Answered]], prompts: int | None
) -> Ballot:
    """Make a page: one pair of answers to each prompt, every pair of cells equally often.

    Which prompts, which pair and which side are decided by hashes, so that the same call makes the
    same page.

    Args:
        language: its code. answered: id of a cell -> its results. prompts: how many; None: all.

    Raises:
        UserError: a cell has no written answers in the language, the cells were asked different
            prompts, or there are too few prompts.
    """
    texts = {cell: written_answers(cell, results, language) for cell, results in answered.items()}
    cells = [*texts]
    asked = {cell: set(own) for cell, own in texts.items()}
    if different := [cell for cell in cells if asked[cell] != asked[cells[0]]]:
        raise UserError(
            f"{different[0]} was asked other prompts in {language} than {cells[0]}: their answers cannot be paired."
        )
    pairs = [*itertools.combinations(cells, 2)]
    known = sorted(texts[cells[0]], key=lambda document: (document[1].hash, document))
    wanted = len(known) if prompts is None else prompts
    if wanted > len(known):
        raise UserError(
            f"--prompts {wanted}: these cells have answers to {len(known)} prompts in {language}. Ask for at most that."
        )
    if wanted < len(pairs):
        raise UserError(
            f"{len(cells)} cells make {len(pairs)} pairs, and each needs a prompt; there are {wanted}."
            " Name fewer cells or more --prompts."
        )
    items, key, identical = [], {}, []
    for number, document in enumerate(known[:wanted]):
        sides = pairs[number % len(pairs)]
        task, name = document
        id = digest(run, language, *cells, task, *map(str, name))
        left, right = sides[::-1] if int(id, 16) % 2 else sides
        entry = {
            "task": task,
            "document": "/".join(map(str, filter(None, name))),
            "part": texts[left][document].part,
            "left": left,
            "right": right,
        }
        if texts[left][document].text == texts[right][document].text:
            identical.append(entry)
            continue
        key[id] = entry
        shown = {"left": texts[left][document].text, "right": texts[right][document].text}
        items.append({"id": id, "prompt": texts[left][document].prompt, **shown})
    name = digest(run, language, json.dumps(items))
    html = page(
        "votes.html",
        ("text.js", "votes.js"),
        {"page": name, "language": language, "items": items},
        language=language_name,
    )
    about = {"page": name, "run": run, "language": language, "cells": cells, "items": key, "identical": identical}
    return Ballot(f"{language}-{name}", html, about)


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]


class Written(NamedTuple):
    """A prompt, a model's answer to it, and the half that the document is in."""

    prompt: str
    text: str
    part: str


def written_answers(cell: str, results: Sequence[Answered], language: str) -> dict[tuple[str, Key], Written]:
    """A cell's texts, by task and document: those of the first seed."""
    records = [(one, record) for one in results for record in one.result["scores"] if record["language"] == language]
    for measure in MEASURES_VOTED:
        own = [(one, record) for one, record in records if record["measure"] == measure]
        seeds = {
            record["task"]: min(other["seed"] or 0 for _, other in own if other["task"] == record["task"])
            for _, record in own
        }
        found = {
            (record["task"], key): Written(prompt_of(sample), sample["filtered_resps"][0], sample.get("part", ""))
            for one, record in own
            if (record["seed"] or 0) == seeds[record["task"]] and (path := one.samples / answers_file(record)).is_file()
            for key, sample in selected(path, record["metric"])[1].items()
            if is_written(sample)
        }
        if found:
            return found
    raise UserError(f"{cell} has no kept answers in {language} that are texts (of {' or '.join(MEASURES_VOTED)}).")
