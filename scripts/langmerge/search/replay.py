"""What a search would have found in a finished run, and at what price.

The kept answers stand in for the models. They are first searched as they are, and then many times
with documents drawn from them with replacement: the kept answers are then the whole truth, of which
each draw is a sample, so that regret and coverage are known exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from langmerge.measures import MEASURES, TASKED
from langmerge.model import Model
from langmerge.reporting.differences import Difference
from langmerge.reporting.pairing import Comparison
from langmerge.reporting.scores import DEV, TEST
from langmerge.reporting.significance import generator
from langmerge.search.blocks import Block
from langmerge.search.cells import COVERAGE, described, interval
from langmerge.search.criterion import Answers, Criterion, Known, Stratum
from langmerge.search.race import WORSE, Candidate, Outcome, Search

MEANS = ("asked", "regret", "regret_dev", "covered", "lost", "breaks")
"""The columns that are means over the draws."""

CHUNK = 50
"""Draws of one family that a process makes at once."""


@dataclass(frozen=True)
class Family:
    """The cells that differ in their weight only, and their answers.

    Attributes:
        parts: by task, the half that each document is in.
        others: requests of a cell that are no part of the criterion: a cell that is found is asked
            them too.
    """

    backbone: str
    method: str
    target: tuple[str, ...]
    criterion: Criterion
    cells: Mapping[Candidate, Answers]
    instruct: Answers
    parts: Mapping[str, np.ndarray]
    others: int

    @property
    def name(self) -> str:
        return f"{self.backbone}/{self.method}/{'+'.join(self.target)}"

    @property
    def pool(self) -> list[Candidate]:
        return sorted(self.cells)

    def score(self, candidate: Candidate) -> float:
        """The score of a cell on all documents, in points."""
        return self.criterion.level(self.known[candidate])

    @cached_property
    def known(self) -> dict[Candidate, Known]:
        """What each cell scores on all documents."""
        return {candidate: self.criterion.known(answers) for candidate, answers in self.cells.items()}

    @cached_property
    def instruct_known(self) -> Known:
        """The same of the instruct model."""
        return self.criterion.known(self.instruct)

    def feasible(self, candidate: Candidate) -> bool:
        """Whether a cell satisfies the constraint on all documents."""
        return (
            not self.criterion.constraint or self.criterion.slack(self.known[candidate], self.instruct_known).value >= 0
        )

    def requests(self, documents: Block) -> int:
        """What one cell is asked, counting seeds."""
        return sum(len(documents[task]) * self.instruct[task].shape[1] for task in self.criterion.tasks)


class Settings(NamedTuple):
    """How runs are searched; `search` of a run's configuration has the same.

    Attributes:
        measures: those whose mean is the score.
        constraint: the measure that must be kept, "" for none; at_least: this share of the instruct
            model's.
        budget: share of the full grid's requests, of all tasks, that may be made.
    """

    measures: tuple[str, ...]
    constraint: str
    at_least: float
    budget: float


def families(compared: list[Comparison], settings: Settings) -> list[Family]:
    """The families of a run that have several weights, with the answers to all that is asked."""
    by_place = {(one.instruct.backbone, one.language, one.measure): one for one in compared}
    models: dict[tuple[str, str, tuple[str, ...]], dict[Model, None]] = {}
    for one in compared:
        for model in one.paired:
            models.setdefault((model.backbone, model.method, model.target), {})[model] = None
    found = []
    for (backbone, method, target), members in models.items():
        places = {
            measure: [
                by_place[backbone, language, measure]
                for language in target
                if (backbone, language, measure) in by_place
            ]
            for measure in dict.fromkeys([*settings.measures, settings.constraint])
        }
        score = [one for measure in settings.measures for one in places[measure]]
        constraint = places[settings.constraint] if settings.constraint else []
        kept = [model for model in members if all(model in one.paired for one in [*score, *constraint])]
        if len(kept) > 2 and score and bool(constraint) == bool(settings.constraint):
            used = {*settings.measures, settings.constraint}
            others = [
                task
                for one in compared
                if one.instruct.backbone == backbone and one.language in target and one.measure in {*TASKED} - used
                for task in one.tasks
            ]
            asked = sum(len(task.parts) * task.instruct.shape[1] for task in others)
            found.append(family(backbone, method, target, kept, score, constraint, settings.at_least, asked))
    return found


def family(
    backbone: str,
    method: str,
    target: tuple[str, ...],
    members: list[Model],
    score: list[Comparison],
    constraint: list[Comparison],
    factor: float,
    others: int,
) -> Family:
    """One family, from the comparisons that its score and its constraint are made of."""
    cells: dict[Candidate, dict[str, np.ndarray]] = {(model.weight,): {} for model in members}
    instruct, parts = {}, {}
    for one in [*score, *constraint]:
        for task in one.tasks:
            instruct[task.name], parts[task.name] = task.instruct, task.parts
            for model in members:
                cells[model.weight,][task.name] = task.merges[one.paired.index(model)]
    criterion = Criterion(strata(score), strata(constraint), factor)
    return Family(backbone, method, target, criterion, cells, instruct, parts, others)


def strata(compared: list[Comparison]) -> list[Stratum]:
    """The mean over measures and languages of the mean over tasks."""
    return [
        Stratum(task.name, task.metric, task.share / len(compared), MEASURES[one.measure].spread)
        for one in compared
        for task in one.tasks
    ]


# ---- one search


class Halves(NamedTuple):
    """Documents that choose, and documents that report."""

    dev: Block
    test: Block


def kept_halves(one: Family) -> Halves:
    """The halves of the run itself; documents are kept in the order of their hashes."""
    return Halves(*({task: np.flatnonzero(part == half) for task, part in one.parts.items()} for half in (DEV, TEST)))


def drawn_halves(one: Family, number: int) -> Halves:
    """As many documents, drawn from all of them with replacement."""
    random = generator(one.name, str(number))
    dev, test = {}, {}
    for task, part in one.parts.items():
        drawn = random.integers(0, len(part), len(part))
        dev[task], test[task] = np.split(drawn, [int((part == DEV).sum())])
    return Halves(dev, test)


def part(answers: Answers, documents: Block) -> Answers:
    """The answers to these documents."""
    return {task: answers[task][own] for task, own in documents.items()}


def search(one: Family, halves: Halves, budget: float) -> Outcome:
    """The search on these documents; `budget` as in `Settings`."""
    report = one.requests(halves.test) + one.others
    return Search(
        one.criterion,
        one.pool,
        lambda candidate, block: part(one.cells[candidate], block),
        lambda block: part(one.instruct, block),
        halves.dev,
        budget * len(one.pool) * (one.requests(halves.dev) + report),
        report,
    ).run()


def measured(one: Family, halves: Halves, budget: float) -> dict[str, Any]:
    """What a search found, what that is worth and what it took.

    Returns:
        winner; asked: share of the full grid's requests; regret: points by which the best cell of
        the grid exceeds the winner, on all kept answers; regret_dev: the same of the cell that is
        best on all documents that choose; covered: whether the interval of the winner's gain over
        the instruct model on the documents that report holds its gain on all; lost: whether the
        best cell was dropped by a test; breaks: whether the winner breaks the constraint.
    """
    outcome = search(one, halves, budget)
    reports = one.requests(halves.test) + one.others
    whole = len(one.pool) * (one.requests(halves.dev) + reports)
    found = {"winner": outcome.winner, "asked": (outcome.asked + len(outcome.front) * reports) / whole}
    truth = {candidate: one.score(candidate) for candidate in one.pool}
    allowed = [candidate for candidate in one.pool if one.feasible(candidate)]
    if not allowed or outcome.winner is None:
        return found
    best = max(allowed, key=truth.get)
    dropped = [trial.candidate for trial in outcome.trials if trial.stopped == WORSE]
    on_dev = {candidate: one.criterion.known(part(one.cells[candidate], halves.dev)) for candidate in one.pool}
    by_full = max(one.pool, key=lambda candidate: one.criterion.level(on_dev[candidate]))
    on_test = [one.criterion.known(part(model, halves.test)) for model in (one.cells[outcome.winner], one.instruct)]
    gain = one.criterion.gap(one.known[outcome.winner], one.instruct_known).value
    low, high = one.criterion.gap(*on_test).interval(COVERAGE)
    return found | {
        "regret": truth[best] - truth[outcome.winner],
        "regret_dev": truth[best] - truth[by_full],
        "covered": low <= gain <= high,
        "lost": best in dropped,
        "breaks": outcome.winner not in allowed,
    }


# ---- many searches


def chunk(one: Family, budget: float, numbers: range) -> list[dict[str, Any]]:
    """The searches of some draws, with one thread: they run side by side."""
    with threadpool_limits(1):
        return [measured(one, drawn_halves(one, number), budget) for number in numbers]


def replay(found: list[Family], budget: float, draws: int, threads: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Search the families of a run.

    Args:
        draws: how often documents are drawn from the kept answers.

    Returns:
        One row per family; see `family_row` for its columns. And one row per cell, with what the
        search of the kept answers as they are knew of it: see `cell_rows`.
    """
    ranges = [range(start, min(start + CHUNK, draws)) for start in range(0, draws, CHUNK)]
    jobs = [(one, numbers) for one in found for numbers in ranges]
    with ProcessPoolExecutor(threads) as pool:
        done = [*pool.map(chunk, [one for one, _ in jobs], repeat(budget), [numbers for _, numbers in jobs])]
    drawn: dict[str, list[dict[str, Any]]] = {one.name: [] for one in found}
    for (one, _), results in zip(jobs, done, strict=True):
        drawn[one.name] += results
    families, cells = [], []
    for one in found:
        outcome = search(one, kept_halves(one), budget)
        families.append(family_row(one, outcome, pd.DataFrame(drawn[one.name])))
        cells += cell_rows(one, outcome)
    return pd.DataFrame(families), pd.DataFrame(cells)


def family_row(one: Family, outcome: Outcome, drawn: pd.DataFrame) -> dict[str, Any]:
    """What the searches of one family found.

    `w_grid` is the best cell on all kept answers, `w_search` what the search found among them,
    `difference` the second minus the first on all documents, with its paired interval; `gain` is
    the winner's over the instruct model on the documents that report. The other columns are means
    over the draws: see `measured`.
    """
    allowed = [candidate for candidate in one.pool if one.feasible(candidate)]
    best = max(allowed, key=one.score, default=None)
    row = {**columns(one), "cells": len(one.pool), "w_grid": best and best[0]}
    if best and outcome.winner:
        row |= {"w_search": outcome.winner[0], **interval("gain", gain(one, outcome.winner))}
        if outcome.winner != best:
            row |= interval("difference", one.criterion.gap(one.known[outcome.winner], one.known[best]))
    means = {name: drawn[name].astype(float).mean() for name in MEANS if name in drawn}
    return row | means | {"found": drawn["winner"].notna().mean()}


def gain(one: Family, candidate: Candidate) -> Difference:
    """A cell's score minus the instruct model's, on the documents that report."""
    test = [part(model, kept_halves(one).test) for model in (one.cells[candidate], one.instruct)]
    return one.criterion.gap(*map(one.criterion.known, test))


def cell_rows(one: Family, outcome: Outcome) -> list[dict[str, Any]]:
    """The cells of one family: how much of the documents that choose each was asked, what it was
    stopped for, its score minus the winner's on the documents that both were asked (`gap`), and, of
    the winner and the front, minus the instruct model's on the documents that report (`gain`).
    """
    trials = {trial.candidate: trial for trial in outcome.trials}
    whole = one.requests(kept_halves(one).dev)
    rows = []
    for candidate in one.pool:
        row = {**columns(one), "w": candidate[0], **described(one.criterion, trials.get(candidate), outcome, whole)}
        if candidate in outcome.front:
            row |= interval("gain", gain(one, candidate))
        rows.append(row)
    return rows


def columns(one: Family) -> dict[str, str]:
    """Those that say which family it is."""
    return {"backbone": one.backbone, "method": one.method, "target": "+".join(one.target)}
