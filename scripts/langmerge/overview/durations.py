"""How long jobs take: as measured in this run, else as the backbone's file says, else as estimated
from requests and tokens; those of corpora as estimated from the size of their files.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from langmerge.grid.grid import Grid
from langmerge.grid.jobs import Job
from langmerge.grid.layout import job_name
from langmerge.grid.resources import TRAININGS
from langmerge.grid.results import Result
from langmerge.live.batch import BatchFile
from langmerge.model import Model
from langmerge.overview.corpora import TIMED, hours_of_step
from langmerge.overview.trainings import training
from langmerge.training.recipe import complete, number_of_steps

MEASURED, CONFIGURED, ESTIMATED, UNKNOWN = SOURCES = ("measured", "configured", "estimated", "unknown")
"""What tells how long a job takes, the best first."""


class Duration(NamedTuple):
    """How long a job takes.

    Attributes:
        hours: None if nothing tells.
        source: one of SOURCES.
    """

    hours: float | None
    source: str


class Durations:
    """How long the jobs of a run take."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.measured = cache(self._measured)

    def of(self, job: Job) -> Duration:
        """The mean over the run's finished jobs of the same rule and backbone; without any, `hours`
        of the backbone's file; for trainings, without that, their tokens by `speed.train`. Of an
        evaluation the sum over its results, see `of_result`; of a corpus see overview/corpora.py.
        """
        if job.rule in TIMED:
            estimated = hours_of_step(self.grid, job)
            return Duration(estimated, UNKNOWN if estimated is None else ESTIMATED)
        if not job.results:
            if job.rule in TRAININGS and job.model:
                measured = self.of_training(job.rule, job.model)
            else:
                measured = self.measured(job.rule, job.backbone, "")
            if measured is not None:
                return Duration(measured, MEASURED)
            kind = "train" if job.rule in TRAININGS else job.rule
            hours = self.grid.settings.backbone(job.backbone).get("hours", {}).get(kind) if job.backbone else None
            if hours is None and kind == "train" and (estimated := training(self.grid, job.model).gpu_hours):
                return Duration(estimated / self.grid.processes(job.backbone), ESTIMATED)
            return Duration(hours, UNKNOWN if hours is None else CONFIGURED)
        found = [self.of_result(result) for result in job.results]
        source = max((one.source for one in found), key=SOURCES.index)
        if any(one.hours is None for one in found):
            return Duration(None, source)
        # An estimate counts the start of an engine, which one job does once.
        estimated = sum(one.source == ESTIMATED for one in found)
        start = self.grid.costs.start(job.backbone) or 0.0
        return Duration(job.share * (sum(one.hours for one in found) - max(estimated - 1, 0) * start), source)

    def of_result(self, result: Result) -> Duration:
        """The mean over the run's finished results of the same shard; without any, `hours` of the
        backbone's file; without that, what requests and tokens take (grid/costs.py), and then
        results in other shards.
        """
        backbone, shard = result.model.backbone, result.shard
        measured = self.measured("evaluate", backbone, shard)
        if measured is not None:
            return Duration(measured, MEASURED)
        configured = self.grid.costs.configured(backbone, shard)
        if configured is not None:
            return Duration(configured, CONFIGURED)
        estimated = self.grid.costs.of_job(result.model, shard)
        if estimated is not None:
            return Duration(estimated, ESTIMATED)
        others = self.measured("evaluate", backbone, "")
        return Duration(others, UNKNOWN if others is None else MEASURED)

    def of_training(self, rule: str, model: Model) -> float | None:
        """Hours of a training at the speed of the backbone's finished ones; None without any."""
        hours, tokens = 0.0, 0.0
        for other in self.grid.expansion.reference_models:
            if other.backbone == model.backbone and self.grid.sources.is_trained(other):
                path = self.grid.layout.benchmark(rule, job_name(other.id))
                times = seconds(path) if path.is_file() else []
                hours, tokens = hours + sum(times) / 3600, tokens + self.tokens(other) * len(times)
        return hours / tokens * self.tokens(model) if tokens else None

    def tokens(self, model: Model) -> float:
        """How many tokens a training reads."""
        recipe = complete(self.grid.recipes.train(model))
        return number_of_steps(recipe) * recipe["batch_size"] * recipe["sequence_length"]

    def _measured(self, rule: str, backbone: str, shard: str) -> float | None:
        """Mean hours of the finished jobs, from Snakemake's benchmark files; of an evaluation, of
        each of its results. None without any.
        """
        times = []
        for path in self.grid.layout.benchmarks(rule, backbone).glob("*.tsv"):
            shards = self.shards(backbone, path.stem) if rule == "evaluate" else [""]
            number = len(shards) if not shard else shards.count(shard)
            times += [time / len(shards) for time in seconds(path) for _ in range(number)]
        return fmean(times) / 3600 if times else None

    def shards(self, backbone: str, name: str) -> list[str]:
        """The shard of each result of an evaluation job; none of a search, which makes few of them."""
        file = self.grid.layout.batch(backbone, name)
        batch = BatchFile.read(file) if file.exists() else None
        if batch is None or batch.searches:
            return []
        # Their names are <shard>.<fingerprint>.json.
        return [Path(result.path).name.split(".")[0] for model in batch.models for result in model.results]


def seconds(path: Path) -> list[float]:
    """Wall-clock times in one of Snakemake's benchmark files, which is empty for a moment while it
    is written.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row["s"]) for row in csv.DictReader(file, delimiter="\t") if row["s"]]
