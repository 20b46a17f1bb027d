"""Is a merge better or worse than its instruct model? A randomisation test and a bootstrap
interval, paired by document.

The documents of a task are exchanged between the two models at random (approximate randomisation:
Noreen 1989, for BLEU Riezler and Maxwell 2005), all seeds of a document together. For a task with
right and wrong answers, this is McNemar's test. The statistic is the difference of the scores that
the tables print, which are means over tasks and seeds. All merges share the same exchanges.

Shapes: D documents of a task, S seeds, K numbers that add up to a metric (`samples.contribution`),
M merges, X exchanges or resamples.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from langmerge.errors import UserError
from langmerge.model import Model
from langmerge.reporting.inputs import Answered
from langmerge.reporting.samples import Answers, answers_file, read_answers, score
from langmerge.reporting.scores import MODEL
from langmerge.reporting.summary import LEVEL

EXCHANGES = 9_999
"""Of the randomisation test: the smallest p is 1 in 10,000."""

RESAMPLES = 2_000
"""Of the bootstrap."""

BLOCK = 500
"""How many exchanges or resamples are in memory at once."""

COLUMNS = [*MODEL, "language", "measure", "documents", "instruct", "merge", "difference", "low", "high", "p", "p_holm"]


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
    """

    name: str
    metric: str
    share: float
    instruct: np.ndarray
    merges: np.ndarray


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


def compare(everything: list[Unit], threads: int) -> pd.DataFrame:
    """One row per merge, language and measure; without numbers where answers are gone or are to
    other documents.

    p is corrected by Holm's method over the merges that are compared in the same language and
    measure.

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
    rows = [
        row
        for (backbone, language, measure), models in groups.items()
        for row in compare_models(
            Model(backbone, "instruct"), {"language": language, "measure": measure}, models, answers
        )
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = table.groupby(["language", "measure"])["p"].transform(holm)
    return table


def compare_models(
    instruct: Model, columns: dict[str, str], models: dict[Model, list[Unit]], answers: dict[Unit, Answers | None]
) -> list[dict[str, Any]]:
    """The rows of one backbone's merges in one language and measure, which `columns` say."""
    merges = [model for model in models if model != instruct]
    rows = [model.columns() | columns for model in merges]
    given = {model: {(unit.task, unit.seed): answers[unit] for unit in own} for model, own in models.items()}
    reference = given.get(instruct, {})
    if not merges or not reference or None in reference.values():
        return rows
    asked = {task: own.documents for task, own in reference.items()}
    paired = [model for model in merges if {task: own.documents for task, own in given[model].items() if own} == asked]
    if not paired:
        return rows
    compared = statistics(tasks_of(models[instruct], reference, [given[model] for model in paired]))
    numbers = dict(zip(paired, compared, strict=True))
    return [row | numbers.get(model, {}) for model, row in zip(merges, rows, strict=True)]


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
        members = instruct[task, of_task[0]].contributions
        for member in members:
            stacks = [
                np.stack([model[task, seed].contributions[member] for seed in of_task], axis=1)
                for model in [instruct, *merges]
            ]
            share = 1 / len(seeds) / len(members)
            tasks.append(Task(f"{task}/{member}", metric, share, stacks[0], np.stack(stacks[1:])))
    return tasks


def statistics(tasks: list[Task]) -> list[dict[str, float]]:
    """The comparison of each merge with the instruct model over all tasks of a language and
    measure.
    """
    instruct = sum(task.share * score(task.metric, task.instruct.sum(0)).mean() for task in tasks)
    merges = sum(task.share * score(task.metric, task.merges.sum(1)).mean(1) for task in tasks)
    observed = merges - instruct
    exchanged = sum(task.share * exchange(task) for task in tasks)
    resampled = sum(task.share * resample(task) for task in tasks)
    # Sums in another order differ in their last digits.
    extreme = (np.abs(exchanged) >= np.abs(observed) - 1e-9).sum(axis=0)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    p = (1 + extreme) / (1 + EXCHANGES)
    documents = sum(len(task.instruct) for task in tasks)
    columns = {"merge": merges, "difference": observed, "low": low, "high": high, "p": p}
    return [
        {"documents": documents, "instruct": instruct, **{name: values[index] for name, values in columns.items()}}
        for index in range(len(merges))
    ]


def exchange(task: Task) -> np.ndarray:
    """The differences after random exchanges of documents: X x M, in points."""
    random, change = generator(task.name, "exchange"), task.merges - task.instruct
    before, after = task.instruct.sum(0), task.merges.sum(1)
    blocks = []
    for size in blocks_of(EXCHANGES):
        moved = product(random.integers(0, 2, (size, len(task.instruct)), dtype=np.int8), change)
        blocks.append((score(task.metric, after - moved) - score(task.metric, before + moved)).mean(-1))
    return np.concatenate(blocks)


def resample(task: Task) -> np.ndarray:
    """The differences on documents drawn with replacement: X x M, in points."""
    random, count = generator(task.name, "bootstrap"), len(task.instruct)
    blocks = []
    for size in blocks_of(RESAMPLES):
        drawn = random.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        merged, instruct = product(times, task.merges), product(times, task.instruct[None])
        blocks.append((score(task.metric, merged) - score(task.metric, instruct)).mean(-1))
    return np.concatenate(blocks)


def product(times: np.ndarray, contributions: np.ndarray) -> np.ndarray:
    """Sums over documents: (X x D) by (M x D x S x K) -> X x M x S x K."""
    models, documents, *rest = contributions.shape
    flat = contributions.transpose(1, 0, 2, 3).reshape(documents, -1)
    return (times.astype(float) @ flat).reshape(len(times), models, *rest)


def blocks_of(total: int) -> list[int]:
    """Sizes of at most BLOCK that add up to the total."""
    return [min(BLOCK, total - start) for start in range(0, total, BLOCK)]


def generator(*words: str) -> np.random.Generator:
    """Random numbers that depend on these words only, so that every call gives the same table."""
    return np.random.default_rng(list(hashlib.sha256("/".join(words).encode()).digest()))


def holm(p: pd.Series) -> pd.Series:
    """Holm's (1979) adjusted p-values; missing ones stay missing and do not count."""
    known = p.dropna().sort_values()
    factors = np.arange(len(known), 0, -1)
    return (known * factors).cummax().clip(upper=1).reindex(p.index)
