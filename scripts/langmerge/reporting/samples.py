"""The answers that evaluations keep, as numbers that add up over documents.

Accuracy, BLEU, chrF++ and Matthews' correlation are functions of a sum over documents. So the score
of any resample of the documents, or of any exchange of documents between two models, is one matrix
product.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from langmerge.errors import UserError

ORDERS = 4
"""BLEU's n-grams have 1 to ORDERS words."""

BLEU_SCORER = BLEU()
"""sacrebleu's defaults, which are also lm-eval's."""

CHRF_SCORER = CHRF(word_order=2)
"""chrF++: n-grams of up to 6 characters and 2 words (Popović 2017)."""

CORPUS_METRICS = {"bleu", "chrf++", "mcc"}
"""Metrics that are no mean over documents or over the instructions in them."""

BETA = 2
"""How much more recall counts than precision in chrF++."""


class Answers(NamedTuple):
    """One model's answers to one task, with one seed.

    Attributes:
        documents: a digest of the documents that were asked; two models' answers can be paired if
            theirs are equal.
        contributions: for each task of a group (a single task: one, named ""), documents x numbers,
            ordered by the documents' hashes. `contribution` says what the numbers are.
        parts: for each of these tasks, the half that each document is in (`scores.DEV`, `TEST`), ""
            where that was not kept.
    """

    documents: str
    contributions: dict[str, np.ndarray]
    parts: dict[str, np.ndarray]


def answers_file(record: Mapping[str, Any]) -> str:
    """Name of the file of answers behind a score."""
    seed = "" if record["seed"] is None else f".seed{record['seed']}"
    return f"{record['task']}{seed}.{record['key']}.jsonl.gz"


def read_answers(path: Path, metric: str) -> Answers | None:
    """Return the answers in one file of samples, or None if there is no such file.

    Raises:
        UserError: not a file of samples, or a metric that `contribution` does not know.
    """
    if not path.is_file():
        return None
    documents: dict[str, list[tuple[str, str, Any]]] = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for sample in (end_of(line, metric) for line in lines):
                if sample["filter"] == "none":  # as in evaluation/scores.py
                    answer = sample["doc_hash"], sample.get("part", ""), sample[metric]
                    documents.setdefault(sample.get("task", ""), []).append(answer)
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} does not hold answers with the metric {metric} ({error!r})."
            " Discard the task's result with `langmerge forget` and evaluate again."
        ) from error
    for answers in documents.values():
        answers.sort(key=lambda answer: answer[0])
    names = json.dumps([[task, *(name for name, *_ in answers)] for task, answers in sorted(documents.items())])
    numbers = {
        task: np.array([contribution(metric, value, path) for *_, value in answers], float)
        for task, answers in documents.items()
    }
    parts = {task: np.array([part for _, part, _ in answers]) for task, answers in documents.items()}
    return Answers(hashlib.sha256(names.encode()).hexdigest(), numbers, parts)


def end_of(line: str, metric: str) -> dict[str, Any]:
    """What follows a sample's prompts and answers: its filter, its hashes and its metrics.

    A line is mostly prompts with few-shot examples, and parsing them would take most of the time.
    No string can contain the text that is searched for, because its quotes would be escaped. Should
    the metric not come after it, the whole line is parsed.
    """
    start = line.rfind('"filter":')
    sample = json.loads("{" + line[start:]) if start > 0 else {}
    return sample if metric in sample else json.loads(line)


def contribution(metric: str, value: Any, path: Path) -> list[float]:
    """What one document adds to the sum that `score` turns into the metric.

    Args:
        path: the file that it comes from, for messages.

    Raises:
        UserError: the metric is neither a mean over documents, nor BLEU, nor chrF++, nor Matthews'
            correlation.
    """
    if metric == "bleu":
        references, hypothesis = value
        references = [references] if isinstance(references, str) else references
        bleu = BLEU_SCORER.corpus_score([hypothesis], [[reference] for reference in references])
        return [*bleu.counts, *bleu.totals, bleu.sys_len, bleu.ref_len]
    if metric == "chrf++":
        return value  # derived.py has counted
    if metric == "mcc":
        gold, guess = map(bool, value)
        return [gold and guess, not gold and not guess, not gold and guess, gold and not guess]
    if isinstance(value, int | float):
        return [value, 1]
    if isinstance(value, list) and all(isinstance(item, bool) for item in value):
        return [sum(value), len(value)]
    raise UserError(
        f"{path}: cannot compare documents by {metric}: known are means over documents (acc, ...), bleu, chrf++ and mcc."
    )


def score(metric: str, sums: np.ndarray) -> np.ndarray:
    """The metric, in points, of sums of contributions: ... x numbers -> ..."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100 * {"bleu": bleu, "chrf++": chrf, "mcc": matthews}.get(metric, mean)(sums)


def mean(sums: np.ndarray) -> np.ndarray:
    """The mean over documents, or over the instructions in them."""
    return sums[..., 0] / sums[..., 1]


def matthews(sums: np.ndarray) -> np.ndarray:
    """Matthews' correlation, 0 where one class is never the right one or never guessed."""
    both, neither, false, missed = np.moveaxis(sums, -1, 0)
    scale = np.sqrt((both + false) * (both + missed) * (neither + false) * (neither + missed))
    return np.where(scale > 0, (both * neither - false * missed) / scale, 0)


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU with exponential smoothing, of many sums at once (sacrebleu's `BLEU.compute_bleu`)."""
    counts, totals, length, reference = sums[..., :ORDERS], sums[..., ORDERS : 2 * ORDERS], sums[..., -2], sums[..., -1]
    precisions = np.where(counts > 0, counts, 0.5 ** np.cumsum(counts == 0, axis=-1)) / totals
    precisions = np.where(totals > 0, precisions, 0)
    brevity = np.where(length < reference, np.exp(1 - reference / length), 1)
    return np.where(counts.any(axis=-1), brevity * np.exp(np.log(precisions).mean(axis=-1)), 0)


def chrf_counts(hypothesis: str, references: Sequence[str]) -> list[int]:
    """What a translation adds to the counts of chrF++.

    Returns:
        For n-grams of 1 to 6 characters, then of 1 and 2 words: how many the translation has, the
        reference has, and both have; of the reference that fits best.
    """
    [counts] = CHRF_SCORER._extract_corpus_statistics([hypothesis], [[reference] for reference in references])
    return counts


def chrf(sums: np.ndarray) -> np.ndarray:
    """chrF++ of many sums at once (sacrebleu's `CHRF._compute_f_score`)."""
    ours, reference, both = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)
    counted = (ours > 0) & (reference > 0)
    orders = np.maximum(counted.sum(-1), 1)
    precision = np.where(counted, both / ours, 0).sum(-1) / orders
    recall = np.where(counted, both / reference, 0).sum(-1) / orders
    total = BETA**2 * precision + recall
    return np.where(total > 0, (1 + BETA**2) * precision * recall / total, 0)
