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
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from langmerge.reporting.pairing import Comparison, Task
from langmerge.reporting.samples import score
from langmerge.reporting.scores import ALL, MODEL
from langmerge.reporting.summary import LEVEL as COVERAGE

EXCHANGES = 9_999
"""Of the randomisation test: the smallest p is 1 in 10,000."""

RESAMPLES = 2_000
"""Of the bootstrap."""

BLOCK = 500
"""How many exchanges or resamples are in memory at once."""

LEVEL = 0.05
"""p below which something counts as shown."""

PAIRED = ["documents", "instruct", "merge", "difference", "low", "high", "p", "p_holm"]
MARGIN = ["margin", "p_not_worse", "p_not_better", "p_not_worse_holm"]
COLUMNS = [*MODEL, "language", "measure", *PAIRED, *MARGIN]


def compare(compared: list[Comparison], margins: Mapping[str, float]) -> pd.DataFrame:
    """One row per merge, language and measure; without numbers where answers are gone or are to
    other documents.

    `p_not_worse` and `p_not_better` are those of two one-sided tests (Schuirmann 1987): small where
    the merge is shown to be worse, or better, by less than the margin; both are small where the two
    models are shown to be equivalent. p and p_not_worse are also corrected by Holm's method over
    the merges that are compared in the same language and measure.

    Args:
        margins: by measure, in points.
    """
    rows = [row for comparison in compared for row in rows_of(comparison, margins.get(comparison.measure))]
    table = pd.DataFrame(rows, columns=COLUMNS)
    for column in ("p", "p_not_worse"):
        table[f"{column}_holm"] = table.groupby(["language", "measure"])[column].transform(holm)
    return table


def rows_of(comparison: Comparison, margin: float | None) -> list[dict[str, Any]]:
    """The rows of one backbone's merges in one language and measure."""
    columns = {"language": comparison.language, "measure": comparison.measure}
    rows = [model.columns() | columns for model in comparison.merges]
    if not comparison.paired:
        return rows
    numbers = dict(zip(comparison.paired, statistics(comparison.tasks), strict=True))
    if margin is not None:
        for model, found in comparison.differences(ALL).items():
            numbers[model] |= {
                "margin": margin,
                "p_not_worse": found.p_not_below(-margin),
                "p_not_better": found.p_not_above(margin),
            }
    return [row | numbers.get(model, {}) for model, row in zip(comparison.merges, rows, strict=True)]


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
    tail = (1 - COVERAGE) / 2
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
