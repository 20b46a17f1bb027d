"""How far a run is: the state of each of its jobs, from what is on disk alone.

A job is *done* when what it makes is there, or when nothing that is left to do needs it (a merged
checkpoint is temporary). An evaluation is one result here, although one job makes several. The log
tells the state of the others: a job that works holds its log (overview/alive.py) and touches it
every `cli.HEARTBEAT` seconds, also when it has nothing to say, and Snakemake writes the benchmark
file after the log of a job that succeeded. So a log that is older than its benchmark belongs to a
job that was done and must be done again (*waiting*). One that ends with `error:` or an exception
belongs to a job that *failed*, one that is held or was touched lately to a job that is *running*,
and any other to a job that was killed (*failed*).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from langmerge.cli import HEARTBEAT
from langmerge.grid.grid import Grid
from langmerge.grid.jobs import STAGES, Job
from langmerge.live.batch import BatchFile
from langmerge.overview.alive import is_held
from langmerge.overview.durations import MEASURED, Durations

STATES = ("done", "running", "waiting", "failed")

SILENCE = 6 * HEARTBEAT
"""Seconds without a sign of life after which a job counts as dead, where it cannot be told whether
its process lives. Starting Python on a busy shared file system takes a while.
"""

STARTING = 5
"""Seconds from which on a job whose process does not hold its log counts as dead: it takes a moment
to start.
"""

TAIL = 8192
"""Bytes at the end of a log in which an error message is looked for."""

NO_WORD = "it ended without a message: killed, or out of memory?"


@dataclass(frozen=True)
class Progress:
    """One job's progress.

    Attributes:
        state: one of STATES.
        parts: an evaluation's finished tasks and all of them, a seed counting as one; (0, 1) or (1,
            1) for other jobs.
        log: where it writes its messages.
        reason: why it failed, in a line.
    """

    job: Job
    state: str
    parts: tuple[int, int]
    log: Path
    reason: str = ""

    @property
    def row(self) -> tuple[str, str, str]:
        """The backbone, method and stage that it is counted in; empty for what belongs to no
        backbone or method.
        """
        model = self.job.model
        return (model.backbone if model else "", model.method if model else "", self.job.rule)

    @property
    def left(self) -> float:
        """The share of its work that is still to be done."""
        return 0.0 if self.state == "done" else 1 - self.parts[0] / self.parts[1]


class Left(NamedTuple):
    """What is still to be done.

    Attributes:
        hours: of jobs, one after another. gpu_hours: of GPUs.
        unknown: the (rule, backbone) of which no duration is known.
        measured: whether all durations are those of finished jobs.
    """

    hours: float
    gpu_hours: float
    unknown: list[tuple[str, str]]
    measured: bool


class Snapshot:
    """The state of every job of a run at one moment."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.now = time.time()
        self.stages = [job for job in grid.jobs.by_result() if job.rule in STAGES]

    @cached_property
    def jobs(self) -> list[Progress]:
        """Every job up to the results, in the order of the stages."""
        return [self.progress(job) for job in self.stages]

    @cached_property
    def evaluations(self) -> list[Progress]:
        return [progress for progress in self.jobs if progress.job.rule == "evaluate"]

    @cached_property
    def missing(self) -> set[Job]:
        """The jobs whose products are not there and are needed by a missing result, directly or
        through other jobs.
        """
        makers = {path: job for job in self.stages for path in job.outputs}
        wanted = [job for job in self.stages if job.rule in ("evaluate", "search")]
        waiting = [job for job in wanted if not job.outputs[0].exists()]
        found = set(waiting)
        while waiting:
            for path in waiting.pop().inputs:
                job = makers.get(path)
                if job is not None and job not in found and not path.exists():
                    found.add(job)
                    waiting.append(job)
        return found

    def progress(self, job: Job) -> Progress:
        layout = self.grid.layout
        rule, (name, first) = job.rule, (self.batch_of(job) if job.results else (job.name, True))
        if rule == "search":  # an evaluation job does it
            rule = "evaluate"
        log = layout.log(rule, name)
        if job not in self.missing:
            return Progress(job, "done", self.parts(job, True), log)
        state, reason = self.state(log, layout.benchmark(rule, name))
        # Of the results that a job makes one after another, the others wait.
        if state == "running" and not first:
            state, reason = "waiting", ""
        return Progress(job, state, self.parts(job, False), log, reason)

    def batch_of(self, job: Job) -> tuple[str, bool]:
        """The name of the last job that was to make a result or the record of a search, if there
        was one, and whether it is that job's next one.
        """
        path = str(job.outputs[0])
        name = self.planned.get(path, "")
        return f"{job.backbone}/{name or job.name}", self.next.get(name) == path

    @cached_property
    def planned(self) -> dict[str, str]:
        """For each result and each record of a search that is not there the last batch that has it."""
        found: dict[str, str] = {}
        for file in sorted(self.grid.layout.batches.glob("*/*.json"), key=lambda file: file.stat().st_mtime):
            batch = BatchFile.read(file)
            results = [own.path for model in batch.models for own in model.results]
            makes = [search.record for search in batch.searches] or results
            found |= {path: file.stem for path in makes if not Path(path).exists()}
        return found

    @cached_property
    def next(self) -> dict[str, str]:
        """For each batch the first result that is not there."""
        return {name: path for path, name in reversed(self.planned.items())}

    def parts(self, job: Job, is_done: bool) -> tuple[int, int]:
        """How many parts of a job's work are finished, and how many there are."""
        if len(job.outputs) != 1 or job.rule != "evaluate":
            return int(is_done), 1
        (result,) = job.results
        if is_done:
            number = len(self.grid.tasks.units(result.model, result.shard))
            return number, number
        files = self.grid.results.parts(result)
        folder = self.grid.layout.parts(result.model.id)
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return sum(file.name in there for file in files), len(files)

    def state(self, log: Path, benchmark: Path) -> tuple[str, str]:
        """The state of a job whose product is not there, and why if it failed."""
        try:
            touched = log.stat().st_mtime
        except FileNotFoundError:
            return "waiting", ""
        if benchmark.exists() and benchmark.stat().st_mtime >= touched:
            return "waiting", ""
        error = last_error(log) or exception_of(log)
        if error:
            return "failed", error
        held, age = is_held(log), self.now - touched
        is_running = age < (STARTING if held is False else SILENCE) or bool(held)
        return ("running", "") if is_running else ("failed", last_words(log))

    @cached_property
    def left(self) -> Left:
        """What is still to be done, by the durations of finished jobs of the same kind or those of
        the configuration.
        """
        durations, unknown, all_measured = Durations(self.grid), {}, True
        total, gpus = 0.0, 0.0
        for progress in self.jobs:
            if progress.state == "done":
                continue
            rule, backbone = progress.job.rule, progress.job.backbone
            duration = durations.of(progress.job)
            if duration.hours is None:
                unknown[rule, backbone] = None
                continue
            total += progress.left * duration.hours
            held = self.grid.resources(rule, backbone).get("gpu", 0) if backbone else 0
            gpus += progress.left * duration.hours * held
            all_measured &= duration.source == MEASURED
        return Left(total, gpus, [*unknown], all_measured)


EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt)\b")
"""How the last line of a log begins that ends with an exception."""


def last_words(log: Path) -> str:
    """Why a job that has failed did, from the end of its log: its message, its exception, or else
    its last line.
    """
    lines = [line.strip() for line in tail_of(log).splitlines() if line.strip()]
    return last_error(log) or (lines[-1] if lines else NO_WORD)


def exception_of(log: Path) -> str:
    """The exception with which a log ends, if it does."""
    lines = tail_of(log).rstrip().splitlines()
    return lines[-1].strip() if lines and EXCEPTION.match(lines[-1]) else ""


def tail_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        return file.read().decode("utf-8", errors="replace")


def last_error(log: Path) -> str:
    """The first line of the message with which a command ended (cli.main), if the log has one."""
    tail = tail_of(log)
    # A progress bar that was cut short has no newline behind it.
    found = re.findall(r"(?:^|[\]\r\n])error: ([^\r\n]*(?:\n  [^\r\n]+)*)\s*$", tail)
    return " ".join(found[-1].split()) if found else ""


def count(jobs: Iterable[Progress]) -> dict[str, int]:
    """How many jobs are in each state."""
    states = [job.state for job in jobs]
    return {state: states.count(state) for state in STATES}
