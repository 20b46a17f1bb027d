"""The answers of merges and of their instruct models to the same documents, side by side.

Shapes: D documents of a task, S seeds, K numbers that add up to a metric (`samples.contribution`),
M merges.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from langmerge.errors import UserError
from langmerge.model import Model
from langmerge.reporting.differences import Difference, Pair, difference, points
from langmerge.reporting.inputs import Answered
from langmerge.reporting.samples import Answers, answers_file, read_answers
from langmerge.reporting.scores import ALL


class Unit(NamedTuple):
    """One task with one seed on one model, and the file of its answers."""

    model: Model
    language: str
    measure: str
    task: str
    seed: int | None
    metric: str
    path: Path


class Task(NamedTuple):
    """The answers that are compared in one task.

    Attributes:
        share: weight of the task in the score.
        instruct: D x S x K. merges: M x D x S x K.
        parts: D, the half that each document is in.
    """

    name: str
    metric: str
    share: float
    instruct: np.ndarray
    merges: np.ndarray
    parts: np.ndarray

    def on(self, part: str) -> Task:
        """The same task with one part of its documents: all, dev or test."""
        if part == ALL:
            return self
        kept = self.parts == part
        return self._replace(instruct=self.instruct[kept], merges=self.merges[:, kept], parts=self.parts[kept])


class Comparison(NamedTuple):
    """The merges of one backbone beside its instruct model, in one language and measure.

    Attributes:
        merges: all of them. paired: those whose answers are kept and are to the documents that the
            instruct model was asked, in the order of the tasks' arrays.
    """

    instruct: Model
    language: str
    measure: str
    merges: list[Model]
    paired: list[Model]
    tasks: list[Task]

    def differences(self, part: str) -> dict[Model, Difference]:
        """Merge minus instruct on one part of the documents, for each of `paired`."""
        tasks = [task.on(part) for task in self.tasks]
        instruct = [points(task.metric, task.instruct) for task in tasks]
        return {
            model: difference(
                Pair(task.share, points(task.metric, task.merges[index]), own)
                for task, own in zip(tasks, instruct, strict=True)
            )
            for index, model in enumerate(self.paired)
        }


def units(answered: Answered) -> list[Unit]:
    """The tasks of one sealed result.

    Raises:
        UserError: it lacks what a result has.
    """
    result, samples = answered.result, answered.samples
    try:
        model = Model.of_columns(result["cell"])
        return [
            Unit(
                model,
                record["language"],
                record["measure"],
                record["task"],
                record["seed"],
                record["metric"],
                samples / answers_file(record),
            )
            for record in result["scores"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{answered.path} is not a result of `langmerge evaluate` ({error!r})."
            " Discard it with `langmerge forget` and run again."
        ) from error


def comparisons(everything: list[Unit], threads: int) -> list[Comparison]:
    """One for each backbone, language and measure.

    Args:
        threads: processes that read answers.
    """
    wanted = [unit for unit in everything if unit.model.method == "instruct" or unit.model.is_merge]
    with ProcessPoolExecutor(threads) as pool:
        read = pool.map(read_answers, (unit.path for unit in wanted), (unit.metric for unit in wanted), chunksize=4)
        answers = dict(zip(wanted, read, strict=True))
    groups: dict[tuple[str, str, str], dict[Model, list[Unit]]] = {}
    for unit in wanted:
        groups.setdefault((unit.model.backbone, unit.language, unit.measure), {}).setdefault(unit.model, []).append(
            unit
        )
    return [
        comparison(Model(backbone, "instruct"), language, measure, models, answers)
        for (backbone, language, measure), models in groups.items()
    ]


def comparison(
    instruct: Model, language: str, measure: str, models: dict[Model, list[Unit]], answers: dict[Unit, Answers | None]
) -> Comparison:
    """The comparison of these models, which pairs nothing where the instruct model's answers are
    gone.
    """
    merges = [model for model in models if model != instruct]
    given = {model: {(unit.task, unit.seed): answers[unit] for unit in own} for model, own in models.items()}
    reference = given.get(instruct, {})
    paired: list[Model] = []
    if reference and None not in reference.values():
        asked = {task: own.documents for task, own in reference.items()}
        paired = [
            model for model in merges if {task: own.documents for task, own in given[model].items() if own} == asked
        ]
    tasks = tasks_of(models[instruct], reference, [given[model] for model in paired]) if paired else []
    return Comparison(instruct, language, measure, merges, paired, tasks)


def tasks_of(
    asked: list[Unit],
    instruct: dict[tuple[str, int | None], Answers],
    merges: list[dict[tuple[str, int | None], Answers]],
) -> list[Task]:
    """The tasks of one language and measure; each has the share 1 / tasks, divided among the
    members of a group.
    """
    seeds: dict[tuple[str, str], list[int | None]] = {}
    for unit in asked:
        seeds.setdefault((unit.task, unit.metric), []).append(unit.seed)
    tasks = []
    for (task, metric), of_task in seeds.items():
        first = instruct[task, of_task[0]]
        members = first.contributions
        for member in members:
            stacks = [
                np.stack([model[task, seed].contributions[member] for seed in of_task], axis=1)
                for model in [instruct, *merges]
            ]
            share = 1 / len(seeds) / len(members)
            merged = np.stack(stacks[1:])
            tasks.append(Task(f"{task}/{member}", metric, share, stacks[0], merged, first.parts[member]))
    return tasks
