"""Blind votes of native speakers: a page with two answers to each prompt, and the win rates of the
votes that come back.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import choix
import numpy as np
from scipy.sparse.csgraph import connected_components

from langmerge.errors import UserError
from langmerge.reporting.inputs import Answered
from langmerge.reporting.pages import page
from langmerge.reporting.samples import answers_file
from langmerge.reporting.shown_answers import Key, is_written, prompt_of, selected

MEASURES_VOTED = ("ifeval", "mt")
"""Whose answers are shown: those of the first measure that the models have in the language."""

CHOICES = {"left": (1, 0), "right": (0, 1), "both_good": (0.5, 0.5), "both_bad": (0.5, 0.5)}
"""By what a voter chose: what the left and the right answer win. A tie is half a win for each."""

REGULARISATION = 0.1
"""Of choix: it keeps the strength of a cell finite that has won or lost every vote."""

RESAMPLES = 1000
LEVEL = 0.95


# ---- the page


class Ballot(NamedTuple):
    """A page for voters, and what tells whose answers it shows.

    Attributes:
        name: of both files, without ending.
        key: {page, run, language, cells, items, identical}; items: id -> {task, document, left,
            right}; identical: the same of pairs with equal answers, which are not shown.
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
        entry = {"task": task, "document": "/".join(map(str, filter(None, name))), "left": left, "right": right}
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
    """A prompt and a model's answer to it."""

    prompt: str
    text: str


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
            (record["task"], key): Written(prompt_of(sample), sample["filtered_resps"][0])
            for one, record in own
            if (record["seed"] or 0) == seeds[record["task"]] and (path := one.samples / answers_file(record)).is_file()
            for key, sample in selected(path, record["metric"])[1].items()
            if is_written(sample)
        }
        if found:
            return found
    raise UserError(f"{cell} has no kept answers in {language} that are texts (of {' or '.join(MEASURES_VOTED)}).")


# ---- what comes back


class Vote(NamedTuple):
    """One vote: numbers of two cells and what each has won."""

    prompt: str
    left: int
    right: int
    choice: str


@dataclass(frozen=True)
class Rate:
    """What a cell has won in a language.

    Attributes:
        rate: the chance, in percent, that its answer is preferred to that of another cell of the
            page, the mean over the others.
        low, high: the 95% interval, over the choice of prompts.
        counts: of votes that its answers have won or lost, and of those that were ties.
    """

    language: str
    cell: str
    rate: float
    low: float
    high: float
    counts: Mapping[Literal["won", "lost", "both_good", "both_bad"], int]
    voters: int
    prompts: int


def read_votes(paths: Iterable[Path], keys: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, str]]]:
    """The votes in files: page -> voter -> item -> choice.

    Args:
        keys: of the run's pages, by the pages' names.

    Raises:
        UserError: not a file of votes, of a page that this run does not have, or of a voter who
            has another file.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    sources: dict[tuple[str, str], Path] = {}
    for path in paths:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            name, voter = content["page"], content["voter"]
            votes = {vote["item"]: vote["choice"] for vote in content["votes"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a file of votes, as its page saves them ({error!r}).") from error
        if name not in keys:
            raise UserError(
                f"{path} has votes of the page {name}, which this run does not have; it has {', '.join(keys) or 'none'}."
            )
        if wrong := [
            item for item, choice in votes.items() if item not in keys[name]["items"] or choice not in CHOICES
        ]:
            raise UserError(f"{path}: the vote on {wrong[0]} is none of its page: {votes[wrong[0]]!r}.")
        if (other := sources.setdefault((name, voter), path)) != path:
            raise UserError(
                f"{path} and {other} are both votes of {voter!r} on the page {name}. Leave one of them out."
            )
        found.setdefault(name, {})[voter] = votes
    return found


def rates(keys: Mapping[str, dict[str, Any]], votes: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[Rate]:
    """The win rates of every cell, by language, the best first.

    Raises:
        UserError: the votes of a language do not connect all cells.
    """
    languages: dict[str, list[str]] = {}
    for name in votes:
        languages.setdefault(keys[name]["language"], []).append(name)
    return [rate for language, names in sorted(languages.items()) for rate in of_language(language, names, keys, votes)]


def of_language(language: str, names: Sequence[str], keys: Mapping[str, Any], votes: Mapping[str, Any]) -> list[Rate]:
    cells = list(dict.fromkeys(cell for name in names for cell in keys[name]["cells"]))
    cast = []
    for name in names:
        for own in votes[name].values():
            voted = [(keys[name]["items"][item], choice) for item, choice in own.items()]
            # Equal answers are as good as each other, and nobody was asked.
            voted += [(entry, "both_good") for entry in keys[name]["identical"]]
            cast += [
                Vote(
                    f"{entry['task']}/{entry['document']}",
                    cells.index(entry["left"]),
                    cells.index(entry["right"]),
                    choice,
                )
                for entry, choice in voted
            ]
    prompts = list(dict.fromkeys(vote.prompt for vote in cast))
    wins = np.zeros((len(prompts), len(cells), len(cells)))
    counts: list[Counter[str]] = [Counter() for _ in cells]
    for vote in cast:
        left, right = CHOICES[vote.choice]
        document = prompts.index(vote.prompt)
        wins[document, vote.left, vote.right] += left
        wins[document, vote.right, vote.left] += right
        for own, share in ((vote.left, left), (vote.right, right)):
            counts[own][vote.choice if left == right else ("lost", "won")[int(share)]] += 1
    together, groups = connected_components(wins.sum(0), directed=False)
    if together > 1:
        first, second = cells[0], next(cell for cell, group in zip(cells, groups, strict=True) if group != groups[0])
        raise UserError(
            f"{language}: no votes connect {first} and {second}, so they cannot be ranked together."
            " Make a page with both, or collect the pages one by one."
        )
    chances = win_rates(wins.sum(0))
    draws = np.random.default_rng(0).integers(0, len(prompts), (RESAMPLES, len(prompts)))
    resampled = np.array([win_rates(wins[draw].sum(0)) for draw in draws])
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    voters = len({voter for name in names for voter in votes[name]})
    found = [
        Rate(language, cell, float(chances[i]), float(low[i]), float(high[i]), dict(counts[i]), voters, len(prompts))
        for i, cell in enumerate(cells)
    ]
    return sorted(found, key=lambda rate: -rate.rate)


def win_rates(wins: np.ndarray) -> np.ndarray:
    """For each cell the mean chance, in percent, to be preferred to another one.

    Bradley and Terry (1952), fitted by choix (Maystre and Grossglauser 2015).

    Args:
        wins: cells x cells, how often the first was preferred to the second.
    """
    strengths = choix.ilsr_pairwise_dense(wins, alpha=REGULARISATION)
    chances = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    others = ~np.eye(len(wins), dtype=bool)
    return 100 * (chances * others).sum(1) / others.sum(1)
