"""The documents and answers that the interactive page shows: a sample of what evaluations keep.

Which documents are taken is decided by their hashes alone, so that every model shows its answers to
the same ones, and a page that is made again shows the same.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from langmerge.diagnostics import is_long, signs
from langmerge.errors import UserError
from langmerge.identification import identifier
from langmerge.measures import MEASURES
from langmerge.reporting.derived import answer_of
from langmerge.reporting.inputs import Answered
from langmerge.reporting.samples import answers_file, chrf_counts, end_of, score

AT_MOST = 100_000
"""Answers that are read for a page, unless one document of each task is more."""

ROOM = 8_000_000
"""Bytes of a page that documents and answers may take, unless one document of each task takes more."""

Sample = dict[str, Any]


class Key(NamedTuple):
    """A document of a task.

    Attributes:
        member: of a group, or the task itself.
        hash: of the document.
        copy: tells documents with the same hash apart.
    """

    member: str
    hash: str
    copy: int


@dataclass(frozen=True)
class Read:
    """The answers of one model to one task, with one seed.

    Attributes:
        total: number of documents, also of those that were not read.
        documents: what was asked, in the order in which documents are taken.
        answers: the model's, for each of these documents.
    """

    model: int
    task: str
    measure: str
    language: str
    metric: str
    seed: int | None
    total: int
    documents: dict[Key, dict[str, Any]]
    answers: dict[Key, dict[str, Any]]


def shown(
    answered: Iterable[tuple[int, Answered]], candidates: Iterable[str], threads: int = 1
) -> dict[str, dict[str, Any]]:
    """For each task its documents, and the answers of each model and seed to them.

    Args:
        answered: number of a model, and a result of it.
        candidates: codes of the languages that an answer may be in.
        threads: processes that read answers.

    Raises:
        UserError: a file does not hold answers.
    """
    asked = [
        (model, one, record)
        for model, one in answered
        for record in one.result["scores"]
        if not MEASURES[record["measure"]].answers_of and (one.samples / answers_file(record)).is_file()
    ]
    read = partial(read_one, count=max(1, AT_MOST // max(1, len(asked))), candidates=tuple(sorted(candidates)))
    if threads == 1:
        return gathered([*map(read, asked)])
    with ProcessPoolExecutor(threads) as pool:
        return gathered([*pool.map(read, asked, chunksize=8)])


def read_one(asked: tuple[int, Answered, Mapping[str, Any]], count: int, candidates: tuple[str, ...]) -> Read:
    """The first documents of a file of answers, in the order of their hashes."""
    model, one, record = asked
    path, metric = one.samples / answers_file(record), record["metric"]
    total, samples = selected(path, metric, count)
    with answers_in(path, metric):
        return Read(
            model,
            *(record[name] for name in ("task", "measure", "language", "metric", "seed")),
            total=total,
            documents={key: document(sample) for key, sample in samples.items()},
            answers={key: answer(sample, metric, candidates) for key, sample in samples.items()},
        )


def selected(path: Path, metric: str, count: int | None = None) -> tuple[int, dict[Key, Sample]]:
    """The number of documents in a file of answers, and the samples of the first of them in the
    order of their hashes; without a count, of all.

    Raises:
        UserError: it is not a file of answers with that metric.
    """
    with answers_in(path, metric):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found = dict(keyed(lines, metric))
        chosen = sorted(found, key=lambda key: (key.hash, key))[:count]
        return len(found), {key: json.loads(found[key]) for key in chosen}


@contextmanager
def answers_in(path: Path, metric: str) -> Iterator[None]:
    """Turn what comes of reading something else into a UserError."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{path} does not hold answers with the metric {metric} ({error!r})."
            " Discard the task's result with `langmerge forget` and evaluate again."
        ) from error


def keyed(lines: Iterable[str], metric: str) -> Iterator[tuple[Key, str]]:
    """The lines of a file of answers, each with its document."""
    seen: Counter[tuple[str, str]] = Counter()
    for line in lines:
        sample = end_of(line, metric)
        if sample["filter"] == "none":  # as in evaluation/scores.py
            name = sample.get("task", ""), sample["doc_hash"]
            yield Key(*name, seen[name]), line
            seen[name] += 1


def is_written(sample: Sample) -> bool:
    """Whether the answer is a text, and no choice."""
    return isinstance(sample["filtered_resps"][0], str)


def document(sample: Sample) -> dict[str, Any]:
    """What was asked: prompt, and as far as there are any choices, the right one, a reference, and
    the instructions that IFEval checks.
    """
    doc, target = sample.get("doc") or {}, sample.get("target")
    about = {"id": sample.get("doc_id"), "part": sample.get("part", ""), "member": sample.get("task", "")}
    if is_written(sample):
        about["prompt"] = prompt_of(sample)
        about |= {"instructions": doc["instruction_id_list"]} if "instruction_id_list" in doc else {}
        return about | ({"target": target} if isinstance(target, str) and target else {})
    contexts, endings = zip(*(arguments[:2] for arguments in sample["arguments"]), strict=True)
    same = len({*contexts}) == 1
    about["prompt"] = contexts[0] if same else ""
    about["choices"] = [*endings] if same else [context + ending for context, ending in sample["arguments"]]
    return about | ({"right": target} if isinstance(target, int) else {})


def prompt_of(sample: Sample) -> str:
    """The prompt of a written answer, without examples and chat template where the document has it."""
    doc = sample.get("doc") or {}
    own = doc.get("prompt")
    return own if isinstance(own, str) else sample["arguments"][0][0]


def answer(sample: Sample, metric: str, candidates: tuple[str, ...]) -> dict[str, Any]:
    """What a model answered, with what is known of it; what is not known is left out.

    Returns:
        text, or choice (the option that the model finds most likely); verdict: right or wrong, a
        list of them for IFEval's instructions, or chrF++ in percent; signs: what may be wrong;
        language: of the text; lines: of each of its lines that is long enough to tell, else "".
    """
    found: dict[str, Any] = {}
    if sample.get("truncated"):
        found["truncated"] = sample["truncated"]
    if metric == "bleu":
        references, hypothesis = sample["bleu"]
        counts = chrf_counts(hypothesis, [references] if isinstance(references, str) else references)
        found["chrf"] = round(float(score("chrf++", np.array(counts))), 1)
    elif metric == "mcc":
        gold, guess = sample["mcc"]
        found["verdict"] = gold == guess
    elif isinstance(value := sample[metric], int | float) or all(isinstance(part, bool) for part in value):
        found["verdict"] = value
    if not is_written(sample):
        return found | {"choice": preferred(sample, metric)}
    text = sample["filtered_resps"][0]
    language_of = identifier(candidates).language
    lines = [language_of(line) if is_long(line) else "" for line in text.splitlines()]
    found |= {"text": text, "language": language_of(answer_of(sample))}
    found |= {"lines": lines} if len({*lines} - {""}) > 1 else {}
    return found | ({"signs": own} if (own := signs(sample)) else {})


def preferred(sample: Sample, metric: str) -> int:
    """The option with the highest log-likelihood; for acc_norm, per character, as lm-eval counts."""
    scores = [response[0] for response in sample["filtered_resps"]]
    if metric == "acc_norm":
        lengths = [len(arguments[1].removeprefix(" ")) or 1 for arguments in sample["arguments"]]
        scores = [score / length for score, length in zip(scores, lengths, strict=True)]
    return scores.index(max(scores))


# ---- all files together


def gathered(reads: list[Read]) -> dict[str, dict[str, Any]]:
    """What was read by task, cut to as many documents of each task as there is room for."""
    tasks: dict[str, list[Read]] = {}
    for read in reads:
        tasks.setdefault(read.task, []).append(read)
    count = documents_with_room(tasks)
    return {task: one_task(own, count) for task, own in tasks.items()}


def documents_with_room(tasks: Mapping[str, list[Read]]) -> int:
    """How many documents of each task fit into ROOM, at least one."""
    sizes: Counter[int] = Counter()
    for own in tasks.values():
        for rank, key in enumerate(own[0].documents):
            sizes[rank] += size(own[0].documents[key])
            sizes[rank] += sum(size(read.answers[key]) for read in own if key in read.answers)
    together = accumulate(sizes[rank] for rank in sorted(sizes))
    return max(1, sum(total <= ROOM for total in together))


def size(value: Any) -> int:
    """Bytes of a value in the page."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def one_task(reads: list[Read], count: int) -> dict[str, Any]:
    """A task of the page; its prompts are those of the first model that was asked it."""
    first = reads[0]
    keys = [*first.documents][:count]
    answers: dict[int, dict[str, list[Any]]] = {}
    for read in reads:
        own = [read.answers.get(key) for key in keys]
        answers.setdefault(read.model, {})["" if read.seed is None else str(read.seed)] = own
    return {
        "measure": first.measure,
        "language": first.language,
        "metric": first.metric,
        "total": first.total,
        "documents": [first.documents[key] for key in keys],
        "answers": answers,
    }
