"""Blocks: the answers to some documents of a unit, which a search asks before all of them.

A block is a file of answers beside the unit's, and a sealed file beside its part, both named after
the unit and the block's documents. A unit that is evaluated later asks only the documents that no
block has; its answers are those that it would have had at once.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Collection, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from lm_eval.api.task import Task
from lm_eval.utils import handle_non_serializable, hash_string

from langmerge.errors import UserError
from langmerge.evaluation.scores import Sample
from langmerge.evaluation.sealed import read_sealed, write_sealed
from langmerge.evaluation.units import BLOCK, blocks, digest
from langmerge.files import write_bytes


def only(tasks: dict[str, Task], wanted: Callable[[str], bool], limit: int | None) -> dict[str, Task]:
    """The tasks with some of their documents; without those that have none.

    The prompts of all documents are built and then filtered: the examples in a prompt are drawn one
    document after another, so that they are those of the whole task only in this way.

    Args:
        wanted: whether lm-eval's hash of a document is that of a wanted one.
        limit: only the first so many documents are the task's.
    """
    found = {}
    for name, task in tasks.items():
        numbers = {number for number, doc in task.doc_iterator(limit=limit) if wanted(doc_hash(doc))}
        if numbers:
            restrict(task, numbers)
            found[name] = task
    return found


def restrict(task: Task, numbers: Collection[int]) -> None:
    """Make lm-eval ask only the documents with these numbers."""
    build, iterate = task.build_all_requests, task.doc_iterator

    def built(**options: Any) -> None:
        build(**options)
        task._instances = [instance for instance in task._instances if instance.doc_id in numbers]
        task.doc_iterator = lambda **options: (own for own in iterate(**options) if own[0] in numbers)

    task.build_all_requests = built


def doc_hash(doc: Any) -> str:
    """lm-eval's hash of a document, as its samples have it."""
    return hash_string(json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False))


def hashes(samples: Iterable[Sample]) -> set[str]:
    """Those of the documents that samples answer."""
    return {sample["doc_hash"] for sample in samples}


# ---- files


def keep_block(part: Path, answers: Path, samples: list[Sample], made_with: dict[str, Any]) -> None:
    """Write a block of a unit.

    Args:
        part: the file of the unit's result, which need not be there.
        answers: the folder of the unit's answers.
    """
    name = f"{part.stem}{BLOCK}{digest(sorted(hashes(samples)))}"
    write_samples(answers / f"{name}.jsonl.gz", samples)
    write_sealed(part.with_name(f"{name}.json"), {"made_with": made_with})


def read_blocks(part: Path, answers: Path, made_with: dict[str, Any] | None = None) -> list[Sample]:
    """The answers of a unit's blocks.

    Args:
        made_with: take only those that were made with these versions and on this device.
    """
    found = []
    for path in blocks(part):
        if made_with in (None, read_sealed(path)["made_with"]):
            found += read_samples(answers / f"{path.stem}.jsonl.gz")
    return found


def discard_blocks(part: Path, answers: Path) -> None:
    """Delete a unit's blocks, whose answers are now among the unit's own."""
    for path in blocks(part):
        path.unlink()
        (answers / f"{path.stem}.jsonl.gz").unlink(missing_ok=True)


def in_order(samples: list[Sample], tasks: Iterable[str]) -> list[Sample]:
    """The samples as lm-eval gives them at once: by task, then by filter, then by document."""
    filters = list(dict.fromkeys(sample["filter"] for sample in samples))
    places = {name: place for place, name in enumerate(tasks)}
    return sorted(
        samples, key=lambda sample: (places[sample["task"]], filters.index(sample["filter"]), sample["doc_id"])
    )


def write_samples(path: Path, samples: list[Sample]) -> None:
    """Write samples as gzipped JSON lines, whole or not at all.

    There is no time stamp, so that the same answers give the same bytes.
    """
    content = BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=content, mtime=0) as archive:
        for sample in samples:
            archive.write((json.dumps(sample, ensure_ascii=False, default=str) + "\n").encode())
    write_bytes(path, content.getvalue(), flush=False)


def read_samples(path: Path) -> list[Sample]:
    """What `write_samples` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, EOFError, ValueError) as error:
        raise UserError(
            f"{path} does not hold answers ({error}). `langmerge forget RUN CELL` discards the cell's results, and the next"
            " run makes them again."
        ) from None
