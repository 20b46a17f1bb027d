"""Is a merge better or worse than its instruct model? Paired by document: a randomisation test and a bootstrap interval.

The documents of a task are exchanged between the two models at random (approximate randomisation: Noreen 1989, for BLEU Riezler and
Maxwell 2005), all seeds of a document together; for a task with right and wrong answers this is McNemar's test. The statistic is the
difference of the scores that the tables print, means over tasks and seeds. All merges are taken through the same exchanges at once.
"""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from langmerge.reporting.samples import Answers, read_answers, score
from langmerge.reporting.scores import LEVEL

EXCHANGES = 9_999
"""Of the randomisation test: the smallest p is 1 in 10,000."""

RESAMPLES = 2_000
"""Of the bootstrap."""

BLOCK = 500
"""How many exchanges or resamples are in memory at once."""

MODEL = ["backbone", "method", "target", "weight"]
COLUMNS = [*MODEL, "language", "measure", "documents", "instruct", "merge", "difference", "low", "high", "p", "p_holm"]


class Unit(NamedTuple):
    """One task with one seed on one model, and where its answers are."""

    model: tuple[Any, ...]
    language: str
    measure: str
    task: str
    seed: int | None
    metric: str
    path: Path


class Task(NamedTuple):
    """The answers that are compared in one task.

    Attributes:
        share: its weight in the score.
        instruct: documents x seeds x numbers. merges: merges x documents x seeds x numbers.
    """

    name: str
    metric: str
    share: float
    instruct: np.ndarray
    merges: np.ndarray


def units(result: dict[str, Any], samples: Path) -> list[Unit]:
    """Return the tasks of one sealed result, whose answers lie in the folder `samples`."""
    model = tuple(result["cell"][column] for column in MODEL)
    found = []
    for record in result["scores"]:
        seed = "" if record["seed"] is None else f".seed{record['seed']}"
        path = samples / f"{record['task']}{seed}.{record['key']}.jsonl.gz"
        found.append(
            Unit(model, record["language"], record["measure"], record["task"], record["seed"], record["metric"], path)
        )
    return found


def compare(everything: list[Unit], threads: int) -> pd.DataFrame:
    """Return a row for each merge, language and measure; without numbers where answers are gone or are to other documents.

    p is corrected by Holm's method over the merges that are compared in the same language and measure.
    """
    wanted = [unit for unit in everything if unit.model[1] == "instruct" or unit.model[3] is not None]
    with ProcessPoolExecutor(threads) as pool:
        read = pool.map(read_answers, (unit.path for unit in wanted), (unit.metric for unit in wanted), chunksize=4)
        answers = dict(zip(wanted, read, strict=True))
    groups: dict[tuple[str, str, str], dict[tuple, list[Unit]]] = {}
    for unit in wanted:
        groups.setdefault((unit.model[0], unit.language, unit.measure), {}).setdefault(unit.model, []).append(unit)
    rows = [row for (_, *columns), models in groups.items() for row in compare_models(columns, models, answers)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = table.groupby(["language", "measure"])["p"].transform(holm)
    return table


def compare_models(
    columns: list[str], models: dict[tuple, list[Unit]], answers: dict[Unit, Answers | None]
) -> list[dict[str, Any]]:
    """Return the rows of one backbone's merges in one language and measure."""
    instruct = next((model for model in models if model[1] == "instruct"), None)
    merges = [model for model in models if model != instruct]
    rows = [dict(zip([*MODEL, "language", "measure"], [*model, *columns], strict=True)) for model in merges]
    order = {model: {(unit.task, unit.seed): answers[unit] for unit in found} for model, found in models.items()}
    theirs = order.get(instruct, {})
    if not merges or not theirs or None in theirs.values():
        return rows
    asked = {task: found.documents for task, found in theirs.items()}
    paired = [
        model for model in merges if {task: found.documents for task, found in order[model].items() if found} == asked
    ]
    if not paired:
        return rows
    found = dict(
        zip(paired, statistics(tasks_of(models[instruct], theirs, [order[model] for model in paired])), strict=True)
    )
    return [row | found.get(model, {}) for model, row in zip(merges, rows, strict=True)]


def tasks_of(asked: list[Unit], instruct: dict, merges: list[dict]) -> list[Task]:
    """Return the tasks of one language and measure, each with its share of the score: 1 / tasks, and of a group 1 / its tasks of that."""
    seeds: dict[tuple[str, str], list[int | None]] = {}
    for unit in asked:
        seeds.setdefault((unit.task, unit.metric), []).append(unit.seed)
    found = []
    for (task, metric), of_task in seeds.items():
        members = instruct[task, of_task[0]].contributions
        for member in members:
            stacks = [
                np.stack([model[task, seed].contributions[member] for seed in of_task], axis=1)
                for model in [instruct, *merges]
            ]
            found.append(
                Task(f"{task}/{member}", metric, 1 / len(seeds) / len(members), stacks[0], np.stack(stacks[1:]))
            )
    return found


def statistics(tasks: list[Task]) -> list[dict[str, float]]:
    """Return the comparison of each merge with the instruct model over all tasks of a language and measure."""
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
    """Return the differences after random exchanges of documents: exchanges x merges."""
    random, change = generator(task.name, "exchange"), task.merges - task.instruct
    before, after = task.instruct.sum(0), task.merges.sum(1)
    blocks = []
    for size in blocks_of(EXCHANGES):
        moved = product(random.integers(0, 2, (size, len(task.instruct)), dtype=np.int8), change)
        blocks.append((score(task.metric, after - moved) - score(task.metric, before + moved)).mean(-1))
    return np.concatenate(blocks)


def resample(task: Task) -> np.ndarray:
    """Return the differences on documents drawn with replacement: resamples x merges."""
    random, count = generator(task.name, "bootstrap"), len(task.instruct)
    blocks = []
    for size in blocks_of(RESAMPLES):
        drawn = random.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        merged, instruct = product(times, task.merges), product(times, task.instruct[None])
        blocks.append((score(task.metric, merged) - score(task.metric, instruct)).mean(-1))
    return np.concatenate(blocks)


def product(times: np.ndarray, contributions: np.ndarray) -> np.ndarray:
    """Return sums over documents: (draws x documents) by (models x documents x seeds x numbers) -> draws x models x seeds x numbers."""
    models, documents, *rest = contributions.shape
    flat = contributions.transpose(1, 0, 2, 3).reshape(documents, -1)
    return (times.astype(float) @ flat).reshape(len(times), models, *rest)


def blocks_of(total: int) -> list[int]:
    """Return sizes of at most BLOCK that add up."""
    return [min(BLOCK, total - start) for start in range(0, total, BLOCK)]


def generator(*words: str) -> np.random.Generator:
    """Return random numbers that depend on these words only: the same table comes out every time."""
    return np.random.default_rng(list(hashlib.sha256("/".join(words).encode()).digest()))


def holm(p: pd.Series) -> pd.Series:
    """Return Holm's (1979) adjusted p-values; missing ones stay missing and do not count."""
    known = p.dropna().sort_values()
    factors = np.arange(len(known), 0, -1)
    return (known * factors).cummax().clip(upper=1).reindex(p.index)


def to_markdown(table: pd.DataFrame, spec: dict[str, Any], measures: dict[str, str]) -> str:
    """Return the comparison as a Markdown table: a row a merge and language, a column a measure."""
    labels = spec.get("labels", {})

    def cell(row: pd.Series) -> str:
        if math.isnan(row["difference"]):
            return "—"
        star = "\\*" if row["p_holm"] < 0.05 else ""
        return f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]{star}"

    table = table.assign(
        Backbone=table["backbone"].map(lambda name: labels.get("backbones", {}).get(name, name)),
        Method=table["method"].map(lambda name: labels.get("methods", {}).get(name, name)),
        Target=table["target"].str.upper(),
        w=table["weight"].map("{:g}".format),
        Language=table["language"].str.upper(),
        text=table.apply(cell, axis=1) if len(table) else "",
    )
    names = ["Backbone", "Method", "Target", "w", "Language"]
    rows: dict[tuple, dict[str, str]] = {}
    for row in table.to_dict("records"):
        rows.setdefault(tuple(row[name] for name in names), {})[row["measure"]] = row["text"]
    shown = [measure for measure in measures if measure in set(table["measure"])]
    lines = [[*key, *(cells.get(measure, "") for measure in shown)] for key, cells in rows.items()]
    caption = (
        f"{spec.get('title', '')} Each merge against its instruct model on the same documents: difference in points, 95% interval "
        f"(paired bootstrap, {RESAMPLES:,} resamples). \\*: p < .05 in a paired randomisation test with {EXCHANGES:,} exchanges, corrected by "
        "Holm's method over the merges in the same language and measure. —: the answers are not kept."
    )
    header = [*names, *(measures[measure] for measure in shown)]
    return (
        f"{caption.strip()}\n\n{pd.DataFrame(lines, columns=header).to_markdown(index=False, disable_numparse=True)}\n"
    )
