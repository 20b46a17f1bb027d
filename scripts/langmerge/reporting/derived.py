"""Measures that are computed from answers that are kept anyway: language fidelity and chrF++.

They need no model. So a finished run has them too, and a change of this code repeats no evaluation.
The verdict on each answer is kept beside the answers, in a file whose name says all that it depends
on. Raise the number of `derive` in semantics.py when a change of code changes these verdicts.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from langmerge.errors import UserError
from langmerge.files import write_bytes
from langmerge.identification import identifier
from langmerge.measures import MEASURES
from langmerge.reporting.inputs import Answered
from langmerge.reporting.samples import answers_file, chrf_counts, contribution, score
from langmerge.reporting.scores import DEV, TEST
from langmerge.semantics import SEMANTICS

BOOTSTRAP = 100
"""Resamples for the standard error of chrF++, as many as for BLEU (evaluation/scores.py)."""

THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
"""What a model writes before its answer; without an end, there is no answer."""

RESPONSE_LANGUAGE = "language:response_language"
"""The instruction of IFEval to answer in another language than that of the prompt."""

Sample = dict[str, Any]


class Asked(NamedTuple):
    """What the answers of a file are judged by.

    Attributes:
        language: the code of the language that they should be in.
        languages: the codes of those that they may be in: the run's, sorted.
    """

    language: str
    languages: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """How a measure is computed.

    Attributes:
        metric: name of the verdicts in their file, as `samples.contribution` knows it.
        verdict: of one answer, from its sample; None for an answer that does not count.
        package: whose version the verdicts depend on.
        of_languages: whether they depend on the languages of the run.
    """

    metric: str
    verdict: Callable[[Sample, Asked], Any]
    package: str
    of_languages: bool = False


# ---- fidelity


def in_language(sample: Sample, asked: Asked) -> bool | None:
    """Whether an answer is in the language that was asked for.

    An empty answer, and one without letters, is in none. An answer in several languages counts as
    in the one that its letters fit best. None if the prompt asks for another language than its own.
    """
    doc = sample.get("doc") or {}
    if doc.get("response_language") or asks_for_another(doc.get("instruction_id_list") or []):
        return None
    return identifier(asked.languages).language(answer_of(sample)) == asked.language


def asks_for_another(instructions: Iterable[str]) -> bool:
    """Whether one of IFEval's instructions is to answer in another language."""
    return any(name.endswith(RESPONSE_LANGUAGE) for name in instructions)


def answer_of(sample: Sample) -> str:
    """The answer without what the model thought before."""
    return THINKING.sub("", sample["filtered_resps"][0])


# ---- chrF++


def counted(sample: Sample, asked: Asked) -> list[int] | None:
    """What a translation adds to the counts of chrF++; None where the sample names no reference."""
    if (pair := sample.get("bleu") or sample.get("chrf")) is None:
        return None
    references, hypothesis = pair
    return chrf_counts(hypothesis, [references] if isinstance(references, str) else references)


KINDS = {
    "chrf": Kind("chrf++", counted, "sacrebleu"),
    "fidelity": Kind("in_language", in_language, "py3langid", of_languages=True),
}
"""By measure: those of MEASURES that have `answers_of`."""


def fingerprint(measure: str, source: str, languages: Collection[str]) -> str:
    """Hash of all that determines a derived score, except the model.

    Args:
        source: the fingerprint of the score whose answers it is derived from.
        languages: those that an answer may be in.
    """
    kind = KINDS[measure]
    depends = {"derive": SEMANTICS["derive"], "measure": measure, "source": source, "version": version(kind.package)}
    if kind.of_languages:
        depends["languages"] = sorted(languages)
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]


# ---- from results


def with_derived(
    answered: Iterable[Answered], languages: Iterable[str], other_language: Collection[str], threads: int = 1
) -> list[Answered]:
    """The results with the scores that are derived from their answers.

    A score whose answers were not kept has no derived scores.

    Args:
        languages: the codes of those that an answer may be in.
        other_language: tasks whose prompts do not ask for an answer in the task's language. They do
            not count for fidelity.
        threads: processes that read answers.

    Raises:
        UserError: a file does not hold answers.
    """
    codes, derive = tuple(sorted(languages)), partial(extended, other_language=frozenset(other_language))
    if threads == 1:
        return [derive(one, codes) for one in answered]
    with ProcessPoolExecutor(threads) as pool:
        return [*pool.map(derive, answered, repeat(codes))]


def extended(answered: Answered, languages: tuple[str, ...], other_language: frozenset[str]) -> Answered:
    """One result with the scores that are derived from its answers."""
    try:
        scores = answered.result["scores"]
        derived = [
            derived_score(record, measure, answered.samples, languages)
            for record in scores
            for measure in KINDS
            if record["measure"] in MEASURES[measure].answers_of
            and not (measure == "fidelity" and record["task"] in other_language)
        ]
        known = [score for score in derived if score is not None]
        return answered._replace(result={**answered.result, "scores": [*scores, *known]})
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{answered.path} is not a result of `langmerge evaluate` ({error!r})."
            " Discard it with `langmerge forget` and run again."
        ) from error


def derived_score(
    record: dict[str, Any], measure: str, samples: Path, languages: tuple[str, ...]
) -> dict[str, Any] | None:
    """A score in the form of a sealed result's, or None without answers that it can be of.

    Its `key` names the file of the verdicts as that of a task's score names the file of answers.
    """
    kind = KINDS[measure]
    if kind.of_languages and record["language"] not in identifier(languages).known:
        return None
    own = fingerprint(measure, record["fingerprint"], languages)
    derived = {
        **{name: record[name] for name in ("language", "task", "seed", "diagnostics") if name in record},
        "measure": measure,
        "metric": kind.metric,
        "key": f"{record['key']}.{measure}-{own}",
        "fingerprint": own,
    }
    path, source = samples / answers_file(derived), samples / answers_file(record)
    verdicts = kept_verdicts(path, source)
    if verdicts is None and source.is_file():
        verdicts = read_and_judge(source, kind, Asked(record["language"], languages))
        text = "".join(json.dumps(verdict) + "\n" for verdict in verdicts)
        write_bytes(path, gzip.compress(text.encode(), mtime=0), flush=False)
    return {**derived, **summary(verdicts, kind.metric, path)} if verdicts else None


def kept_verdicts(path: Path, source: Path) -> list[Sample] | None:
    """The verdicts in a file, or None if they must be made: there are none, they are damaged, or
    the answers in `source` are newer, because the evaluation was repeated.
    """
    try:
        if source.is_file() and path.stat().st_mtime_ns < source.stat().st_mtime_ns:
            return None
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines] if path.stat().st_size else None
    except (OSError, EOFError, ValueError):
        return None


def read_and_judge(source: Path, kind: Kind, asked: Asked) -> list[Sample]:
    """The verdicts on the answers of a file, one for each that counts.

    Raises:
        UserError: the file does not hold answers.
    """
    try:
        with gzip.open(source, "rt", encoding="utf-8") as lines:
            return [*judged(map(json.loads, lines), kind, asked)]
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{source} does not hold answers ({error!r})."
            " Discard the task's result with `langmerge forget` and evaluate again."
        ) from error


def judged(samples: Iterable[Sample], kind: Kind, asked: Asked) -> Iterator[Sample]:
    """The verdicts, each with what says which document it is about."""
    for sample in samples:
        if sample["filter"] != "none":  # as in evaluation/scores.py
            continue
        verdict = kind.verdict(sample, asked)
        if verdict is not None:
            about = {name: sample.get(name, "") for name in ("task", "part")}
            yield {"filter": "none", "doc_hash": sample["doc_hash"], **about, kind.metric: verdict}


def summary(verdicts: list[Sample], metric: str, path: Path) -> dict[str, Any]:
    """Value, stderr and n of all documents and of each half, as `evaluation.scores.scored` gives
    them.
    """
    halves = {half: [verdict for verdict in verdicts if verdict["part"] == half] for half in (DEV, TEST)}
    parts = {half: numbers(own, metric, path) for half, own in halves.items()}
    return {**numbers(verdicts, metric, path), "parts": parts}


def numbers(verdicts: list[Sample], metric: str, path: Path) -> dict[str, Any]:
    """The plain mean over the tasks of a group, its standard error, and the number of answers."""
    tasks: dict[str, list[Any]] = {}
    for verdict in verdicts:
        tasks.setdefault(verdict["task"], []).append(contribution(metric, verdict[metric], path))
    if not tasks:
        return {"value": None, "stderr": None, "n": 0}
    counts = [np.array(own, float) for own in tasks.values()]
    values = [float(score(metric, own.sum(0))) for own in counts]
    errors = [standard_error(metric, own, value) for own, value in zip(counts, values, strict=True)]
    return {
        "value": sum(values) / len(values),
        "stderr": None if None in errors else math.hypot(*errors) / len(errors),
        "n": len(verdicts),
    }


def standard_error(metric: str, counts: np.ndarray, value: float) -> float | None:
    """The standard error of a score, in points: that of a mean, or of a bootstrap for chrF++.

    Args:
        counts: documents x numbers that add up to the metric.
    """
    documents = len(counts)
    if documents < 2:
        return None
    if metric != "chrf++":
        return math.sqrt(value * (100 - value) / (documents - 1))
    drawn = np.random.default_rng(0).integers(0, documents, (BOOTSTRAP, documents))
    return float(score(metric, counts[drawn].sum(1)).std(ddof=1))
