"""A search for the best cell in the memory of one engine.

Cells are asked blocks of documents of the dev half, and those that cannot win stop
(search/race.py). Those that are found are evaluated in full, and compared with the instruct model
on the test half. All answers are kept as they come, so that a killed search finds them and goes the
same way again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.scores import Sample
from langmerge.evaluation.sealed import read_sealed, write_sealed
from langmerge.evaluation.units import Unit
from langmerge.live.batch import BatchModel, Searched
from langmerge.measures import MEASURES
from langmerge.reporting.samples import contribution
from langmerge.reporting.scores import DEV, TEST
from langmerge.search.blocks import Block
from langmerge.search.cells import described, interval
from langmerge.search.criterion import Answers, Criterion, Stratum
from langmerge.search.race import FINALISTS, Candidate, Search

if TYPE_CHECKING:
    from langmerge.live.family import Family

Place = tuple[str, int]
"""A document of a task: its hash, and how many before it have the same."""

Asking = list[tuple[Evaluation, Unit]]
"""The units that a model is asked, each with the evaluation that it is part of."""


class Reference:
    """The instruct model's answers, which say what there is to ask.

    Attributes:
        places: of each stratum the documents, ordered by their hashes; parts: the half of each.
        answers: of each stratum documents x seeds x numbers (`samples.contribution`).
        strata: of each unit, by its language and name, those that it answers.
        criterion: what the cells are compared by.
        requests: of all units, those that are no part of the criterion too.
    """

    def __init__(self, asking: Asking, wanted: Searched) -> None:
        """Read the answers.

        Raises:
            UserError: they are gone.
        """
        self.places: dict[str, list[Place]] = {}
        self.parts: dict[str, np.ndarray] = {}
        self.strata: dict[tuple[str, str], list[str]] = {}
        seeds: dict[str, list[np.ndarray]] = {}
        units: dict[str, Unit] = {}
        self.requests = 0
        for evaluation, unit in asking:
            if unit.entry["language"] not in wanted.evaluated:
                continue
            part = evaluation.part(unit)
            # What the instruct model is not asked, nobody can count.
            self.requests += read_sealed(part)["diagnostics"]["prompts"] if part.is_file() else 0
            if not counts(unit, wanted):
                continue
            answers = by_place(unit, evaluation.kept_answers(unit), part)
            self.strata[unit.entry["language"], unit.name()] = [*answers]
            for stratum, own in answers.items():
                units[stratum] = unit
                self.places[stratum] = [*own]
                self.parts[stratum] = np.array([half for half, _ in own.values()])
                seeds.setdefault(stratum, []).append(np.array([numbers for _, numbers in own.values()], float))
        self.answers: Answers = {stratum: np.stack(own, axis=1) for stratum, own in seeds.items()}
        factor = next(iter(wanted.keep.values()), 1.0)
        score, constraint = (
            {name: units[name] for name in units if units[name].entry["measure"] in chosen}
            for chosen in (wanted.measures, wanted.keep)
        )
        self.criterion = Criterion(strata(score), strata(constraint), factor)

    def half(self, name: str) -> Block:
        """The documents of a half."""
        return {stratum: np.flatnonzero(parts == name) for stratum, parts in self.parts.items()}

    def on(self, block: Block) -> Answers:
        """The answers to some documents."""
        return {stratum: self.answers[stratum][own] for stratum, own in block.items()}

    def asked(self, block: Block) -> int:
        """Requests that some documents are, each seed counted."""
        return sum(len(own) * self.answers[stratum].shape[1] for stratum, own in block.items())


def counts(unit: Unit, wanted: Searched) -> bool:
    """Whether a unit is part of the criterion."""
    return unit.entry["language"] in wanted.languages and unit.entry["measure"] in (*wanted.measures, *wanted.keep)


def by_place(unit: Unit, samples: list[Sample], file: Path) -> dict[str, dict[Place, tuple[str, list[float]]]]:
    """The half of each document and what its answer adds to the metric, for each stratum of a unit."""
    task, metric = unit.entry.get("group", unit.entry["task"]), unit.entry["metric"]
    found: dict[str, dict[Place, tuple[str, list[float]]]] = {}
    seen: dict[tuple[str, str], int] = {}
    for sample in sorted(samples, key=lambda sample: (sample["doc_hash"], sample["doc_id"])):
        if sample["filter"] == "none":  # as in evaluation/scores.py
            name = f"{unit.entry['language']}/{task}/{sample['task']}"
            number = seen[name, sample["doc_hash"]] = seen.get((name, sample["doc_hash"]), -1) + 1
            answer = sample["part"], contribution(metric, sample[metric], file)
            found.setdefault(name, {})[sample["doc_hash"], number] = answer
    return found


def strata(units: Mapping[str, Unit]) -> list[Stratum]:
    """The mean over measures and languages of the mean over tasks, of each group its members."""
    tasks: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name, unit in units.items():
        own = tasks.setdefault((unit.entry["measure"], unit.entry["language"]), {})
        own.setdefault(name.rsplit("/", 1)[0], []).append(name)
    return [
        Stratum(name, units[name].entry["metric"], 1 / len(tasks) / len(own) / len(members), MEASURES[measure].spread)
        for (measure, _), own in tasks.items()
        for members in own.values()
        for name in members
    ]


def search(family: Family, wanted: Searched) -> None:
    """Search, evaluate what is found in full, and write the record.

    Raises:
        UserError: the budget is too small; or a cell cannot be merged or evaluated.
    """
    if Path(wanted.record).exists():
        return
    models = {model.id: model for model in family.batch.models}
    cells = {tuple(candidate): models[id] for id, candidate in wanted.cells.items()}
    asking = {candidate: questions(family, model, model) for candidate, model in cells.items()}
    first = next(iter(cells.values()))
    reference = Reference(questions(family, wanted.instruct, first), wanted)
    dev, test = reference.half(DEV), reference.half(TEST)
    report = reference.requests - reference.asked(dev)
    limit = wanted.budget * len(cells) * reference.requests

    def ask(candidate: Candidate, block: Block) -> Answers:
        print(f"{cells[candidate].id}: {sum(map(len, block.values()))} documents", file=sys.stderr)
        return answers(asking[candidate], reference, block, wanted)

    found = Search(
        reference.criterion,
        [*cells],
        ask,
        reference.on,
        dev,
        limit,
        # A constraint leaves a front.
        report * (FINALISTS if reference.criterion.constraint else 1),
    )
    outcome = found.run()
    rows = []
    trials = {trial.candidate: trial for trial in outcome.trials}
    for candidate, model in cells.items():
        row = {"id": model.id, **{name: model.columns[name] for name in ("method", "weight")}}
        row |= described(reference.criterion, trials.get(candidate), outcome, reference.asked(dev))
        if candidate in outcome.front:
            family.evaluate(model)
            known = reference.criterion.known(answers(asking[candidate], reference, test, wanted))
            instruct = reference.criterion.known(reference.on(test))
            row |= interval("gain", reference.criterion.gap(known, instruct))
        rows.append({name: None if value != value else value for name, value in row.items()})  # not NaN
    asked = outcome.asked + len(outcome.front) * report
    write_sealed(
        Path(wanted.record),
        {
            **dict(zip(("backbone", "method", "target"), wanted.name.split("/"), strict=True)),
            **{name: getattr(wanted, name) for name in ("measures", "languages", "keep", "budget")},
            "asked": asked / (len(cells) * reference.requests),
            "found": [cells[candidate].id for candidate in outcome.front],
            "cells": rows,
        },
    )


def questions(family: Family, model: BatchModel, like: BatchModel) -> Asking:
    """What a model would be asked in the results of a model."""
    evaluations = [family.evaluation(model, family.batch.questions[own.question]) for own in like.results]
    return [(evaluation, unit) for evaluation in evaluations for unit in evaluation.units]


def answers(asking: Asking, reference: Reference, block: Block, wanted: Searched) -> Answers:
    """A cell's answers to some documents, which it is asked unless they are kept."""
    places = {stratum: [reference.places[stratum][index] for index in own] for stratum, own in block.items()}
    seeds: dict[str, list[Any]] = {}
    for evaluation, unit in asking:
        if counts(unit, wanted):
            own = reference.strata[unit.entry["language"], unit.name()]
            documents = {document for stratum in own for document, _ in places[stratum]}
            found = by_place(unit, evaluation.some_answers(unit, documents), evaluation.part(unit))
            for stratum in own:
                seeds.setdefault(stratum, []).append([found[stratum][place][1] for place in places[stratum]])
    return {
        stratum: np.stack(
            [np.array(one, float).reshape(len(one), reference.answers[stratum].shape[-1]) for one in own], axis=1
        )
        for stratum, own in seeds.items()
    }
