"""From the answers to a task's documents to its score: value, standard error and count.

Each is computed for all documents and for two halves of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from lm_eval.api.metrics import bleu, sample_stddev, stderr_for_metric, unweighted_mean_stderr
from lm_eval.api.task import Task
from sacrebleu.metrics import BLEU

from langmerge.errors import UserError

Sample = dict[str, Any]
Score = dict[str, float | int | None]

BOOTSTRAP = 100
"""Resamples for the standard error of corpus metrics (BLEU).

lm-eval's default of 100,000 takes minutes per task.
"""

PARTS = ("dev", "test")

IN_PERCENT = {"bleu", "chrf", "ter"}
"""Metrics that lm-eval gives on a scale of 0 to 100; the others are shares."""


def part(task: str, document: str) -> str:
    """The half that a document is in, the same for all models.

    It is drawn by a hash of the task's name and of lm-eval's hash of the document. `dev` is for
    choosing (a weight), `test` for reporting what was chosen.
    """
    return PARTS[hashlib.sha256(f"{task}\0{document}".encode()).digest()[0] % 2]


def marked(task: str, samples: list[Sample]) -> list[Sample]:
    """lm-eval's samples of a task, each with the task's name and the half that it is in."""
    return [{**sample, "task": task, "part": part(task, sample["doc_hash"])} for sample in samples]


def scored(tasks: dict[str, Task], samples: list[Sample], metric: str) -> dict[str, Any]:
    """Score marked samples by the tasks' own aggregation.

    Args:
        tasks: one, or those of a group, whose score is the plain mean of theirs.
        samples: of all tasks.
        metric: lm-eval's name of it, without the filter.

    Returns:
        value, stderr, n, and `parts`: the same for each half. See `score`.

    Raises:
        UserError: the tasks do not have that metric.
    """
    usable = [sample for sample in samples if metric in sample and sample["filter"] == "none"]
    aggregations = {name: task.aggregation() for name, task in tasks.items()}
    if not usable or any(metric not in own for own in aggregations.values()):
        found = sorted(set.intersection(*(set(own) for own in aggregations.values())))
        raise UserError(f"no metric {metric!r}; it has {', '.join(found)}. Correct `metric:` in the configuration.")
    chosen = {name: own[metric] for name, own in aggregations.items()}
    return {
        **score(chosen, usable, metric),
        "parts": {
            half: score(chosen, [sample for sample in usable if sample["part"] == half], metric) for half in PARTS
        },
    }


def score(aggregations: dict[str, Callable[[list[Any]], float]], samples: list[Sample], metric: str) -> Score:
    """Value and standard error in percent, and the number of things that were scored.

    The value of several tasks is the mean over them, its error sqrt(sum of squared errors) / number
    of tasks. A value is None where there are no documents; an error also where there is one
    document, or the metric has none.
    """
    values, errors, counted = [], [], 0
    for task, aggregate in aggregations.items():
        items = [sample[metric] for sample in samples if sample["task"] == task]
        if items:
            values.append(aggregate(items))
            errors.append(standard_error(aggregate, items))
            counted += sum(map(verdicts, items))
    factor = 1.0 if metric in IN_PERCENT else 100.0
    return {
        "value": factor * float(sum(values) / len(values)) if values else None,
        "stderr": factor * float(unweighted_mean_stderr(errors)) if errors and None not in errors else None,
        "n": counted,
    }


def standard_error(aggregate: Callable[[list[Any]], float], items: list[Any]) -> float | None:
    """The standard error of an aggregation over documents, on the metric's own scale."""
    estimate = bleu_error if aggregate is bleu else stderr_for_metric(aggregate, BOOTSTRAP)
    if estimate is None or len(items) < 2:
        return None
    error = float(estimate(items))
    return error if math.isfinite(error) else None


def bleu_error(items: list[tuple[str, str]]) -> float:
    """lm-eval's bootstrap of corpus BLEU, draw by draw, but faster.

    The n-grams of each sentence are counted once; lm-eval counts all of them again for every draw.

    Args:
        items: (reference, prediction) of each document.
    """
    # effective_order changes the scores of single sentences, which are not used; without it
    # sacrebleu warns.
    metric = BLEU(effective_order=True)
    sentences = [metric.sentence_score(prediction, [reference]) for reference, prediction in items]
    statistics = np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in sentences])
    draw = Random(0)

    def resampled() -> float:
        *counts, hypothesis, reference = statistics[draw.choices(range(len(items)), k=len(items))].sum(axis=0).tolist()
        return BLEU.compute_bleu(counts[:4], counts[4:], hypothesis, reference, smooth_method="exp").score

    return sample_stddev([resampled() for _ in range(BOOTSTRAP)])


def verdicts(value: Any) -> int:
    """What a document's value counts for: 1, or its instructions where it is a list of verdicts."""
    return len(value) if isinstance(value, list) and all(isinstance(item, bool) for item in value) else 1
