"""How long a run still takes, while it runs: from the durations of the jobs that have ended, and
from what the configuration expects of the others.
"""

from __future__ import annotations

import time
from functools import cached_property
from statistics import fmean

from langmerge.grid.grid import Grid
from langmerge.grid.jobs import Job
from langmerge.overview.durations import Durations
from langmerge.overview.plan import Plan

SMALL = 5.0
"""Seconds that a job takes of which nothing else is known but that its rule takes seconds."""

QUICK = (
    *("corpus", "tokenizer", "recipes", "collect", "table", "figure"),
    *("compare", "paired", "anatomy", "curves", "searches", "report"),
)

Kind = tuple[str, str]
"""A rule and a backbone."""


class Forecast:
    """What is left of a run.

    Attributes:
        pending: the jobs that were to be done at the start, without downloads.
    """

    def __init__(self, grid: Grid, at_once: int) -> None:
        """`at_once`: how many jobs run at a time."""
        self.grid = grid
        self.at_once = max(1, at_once)
        self.plan = Plan(grid)
        self.durations = Durations(grid)
        self.pending = [job for job in self.plan.pending if job.rule != "fetch"]
        self.by_log = {str(grid.layout.log(job.rule, job.name)): job for job in self.pending}
        self.started: dict[Job, float] = {}
        self.ended: dict[Job, float] = {}

    def start(self, job: Job) -> None:
        self.started[job] = time.monotonic()

    def end(self, job: Job) -> None:
        self.ended[job] = time.monotonic() - self.started.get(job, time.monotonic())

    @cached_property
    def expected(self) -> dict[Job, float | None]:
        """Seconds of each pending job as known at the start: of earlier jobs, else as configured."""
        found: dict[Job, float | None] = {}
        for job in self.pending:
            hours = self.durations.of(job).hours
            found[job] = hours * 3600 if hours is not None else SMALL if job.rule in QUICK else None
        return found

    def size(self, job: Job) -> float:
        """How much work a job is, of its kind: tokens of a training, tasks of an evaluation."""
        if job.rule == "train" and job.model:
            return self.durations.tokens(job.model)
        return float(sum(len(self.grid.tasks.units(each.model, each.shard)) for each in job.results)) or 1.0

    def fraction(self, job: Job) -> float:
        """The share of a job that is done: of an evaluation, the results that are there."""
        if job in self.ended or not job.results:
            return float(job in self.ended)
        return sum(each.path.exists() for each in job.results) / len(job.results)

    @cached_property
    def sizes(self) -> dict[Job, float]:
        return {job: self.size(job) for job in self.pending}

    def seconds(self) -> dict[Job, float | None]:
        """Seconds of each pending job as known now: at the speed of those of its kind that have
        ended here, else as expected, corrected by how wrong the other expectations were.
        """
        done: dict[Kind, tuple[float, float]] = {}
        now = time.monotonic()
        for job, began in self.started.items():
            taken, fraction = self.ended.get(job, now - began), self.fraction(job)
            total, size = done.get(kind(job), (0.0, 0.0))
            if fraction:
                done[kind(job)] = total + taken, size + self.sizes[job] * fraction
        known = [(self.ended[job], self.expected[job]) for job in self.ended if self.expected[job]]
        wrong = sum(taken for taken, _ in known) / sum(expected for _, expected in known) if known else 1.0
        found: dict[Job, float | None] = {}
        for job in self.pending:
            total, size = done.get(kind(job), (0.0, 0.0))
            expected = self.expected[job]
            found[job] = total / size * self.sizes[job] if size else None if expected is None else expected * wrong
        return found

    def left(self) -> float | None:
        """Seconds until the end; None while nothing is known of some jobs.

        As long as the work shared among all slots, or as the longest chain of jobs that wait for
        one another, whichever is longer.
        """
        now, seconds = time.monotonic(), self.seconds()
        if any(taken is None for job, taken in seconds.items() if job not in self.ended):
            return None
        rest: dict[Job, float] = {}
        for job, taken in seconds.items():
            gone = now - self.started[job] if job in self.started else 0.0
            fraction = self.fraction(job)
            rest[job] = (taken or 0.0) * (1 - fraction) if fraction else max((taken or 0.0) - gone, 0.0)
        return max(sum(rest.values()) / self.at_once, max(self.plan.chains(rest).values(), default=0.0))

    def share(self) -> float:
        """The share of the work that is done; of jobs of unknown length, each counts as the others
        on average.
        """
        seconds = self.seconds()
        mean = fmean([taken for taken in seconds.values() if taken] or [1.0])
        weights = {job: mean if taken is None else taken for job, taken in seconds.items()}
        done = sum(weight * self.fraction(job) for job, weight in weights.items())
        return done / (sum(weights.values()) or 1.0)


def kind(job: Job) -> Kind:
    return job.rule, job.backbone
