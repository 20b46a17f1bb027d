"""Running datatrove's pipelines: one task per file, a marker for each that is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import multiprocess
from datatrove.executor import LocalPipelineExecutor
from datatrove.utils.stats import PipelineStats
from loguru import logger

from langmerge.files import glob_escape, remove


@contextmanager
def resumed_directory(final: Path, key: str) -> Iterator[Path]:
    """Yield a folder beside `final` that outlives a kill; on success it is renamed to `final`.

    The same key finds what an earlier process left. Folders of other keys are removed: what is in
    them was made from something else.
    """
    partial = final.parent / f".{final.name}.{key}.partial"
    for other in final.parent.glob(f".{glob_escape(final.name)}.*.partial"):
        if other != partial:
            remove(other)
    partial.mkdir(parents=True, exist_ok=True)
    yield partial
    remove(final)
    partial.rename(final)


def key_of(*parts: Any) -> str:
    """Twelve hex digits of a hash of what determines a step's result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


class Executor(LocalPipelineExecutor):
    """datatrove's, but silent: a task's exception is raised, and says what is wrong.

    One worker needs no process that hands out tasks, which takes a second to start.
    """

    def run(self) -> None:
        if self.workers > 1:
            super().run()
            return
        pipeline = self.pipeline
        for rank in self.get_incomplete_ranks():
            self.pipeline = deepcopy(pipeline)  # a task's counts are its own
            self._run_for_rank(rank)

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        logger.disable("datatrove")
        return super()._run_for_rank(rank, local_rank, node_rank)


def execute(pipeline: list[Any], tasks: int, processes: int, records: Path) -> list[dict[str, int]]:
    """Run a pipeline on `tasks` files, those that an earlier process finished excepted.

    Args:
        records: folder of the tasks' markers and counts.

    Returns:
        For each step what it counted, over all tasks: `total`, `dropped`, `dropped_<reason>`, ...
    """
    logger.disable("datatrove")
    # Imported once, and not by each process.
    multiprocess.set_forkserver_preload(sorted({type(step).__module__ for step in pipeline}))
    Executor(pipeline, tasks, min(processes, tasks), str(records)).run()
    return counted(records, tasks)


def counted(records: Path, tasks: int) -> list[dict[str, int]]:
    """The sums of the tasks' counts, step by step."""
    steps: list[dict[str, int]] = []
    for task in range(tasks):
        content = json.loads((records / "stats" / f"{task:05d}.json").read_text(encoding="utf-8"))
        steps = steps or [{} for _ in content]
        for step, found in zip(steps, content, strict=True):
            for name, value in found["stats"].items():
                step[name] = step.get(name, 0) + (value["total"] if isinstance(value, dict) else value)
    return steps
