"""How long jobs take: as measured in this run, else as the backbone's file says, else as estimated
from requests and tokens.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from langmerge.grid.grid import Grid
from langmerge.grid.jobs import Job
from langmerge.grid.resources import TRAININGS
from langmerge.overview.trainings import training

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
        """The mean over the run's finished jobs of the same rule and backbone, of evaluations in the
        same shard; without any, `hours` of the backbone's file; for trainings, without that, their
        tokens by `speed.train`; for evaluations, what their requests and tokens take
        (grid/costs.py), and then evaluations in other shards.
        """
        shard = job.result.shard if job.result else ""
        measured = self.measured(job.rule, job.backbone, shard)
        if measured is not None:
            return Duration(measured, MEASURED)
        if job.result is None:
            kind = "train" if job.rule in TRAININGS else job.rule
            hours = self.grid.settings.backbone(job.backbone).get("hours", {}).get(kind) if job.backbone else None
            if hours is None and kind == "train" and (estimated := training(self.grid, job.model).gpu_hours):
                return Duration(estimated / self.grid.processes(job.backbone), ESTIMATED)
            return Duration(hours, UNKNOWN if hours is None else CONFIGURED)
        configured = self.grid.costs.configured(job.backbone, shard)
        if configured is not None:
            return Duration(configured, CONFIGURED)
        estimated = self.grid.costs.of_job(job.result.model, shard)
        if estimated is not None:
            return Duration(estimated, ESTIMATED)
        others = self.measured(job.rule, job.backbone, "")
        return Duration(others, UNKNOWN if others is None else MEASURED)

    def _measured(self, rule: str, backbone: str, shard: str) -> float | None:
        """Mean hours of the finished jobs, from Snakemake's benchmark files; None without any."""
        files = self.grid.layout.benchmarks(rule, backbone).glob(f"*-{shard}-*.tsv" if shard else "*.tsv")
        # The name ends with the shard and twelve digits of the fingerprint.
        own = [path for path in files if not shard or path.stem[:-13].endswith(f"-{shard}")]
        times = [time for path in own for time in seconds(path)]
        return fmean(times) / 3600 if times else None


def seconds(path: Path) -> list[float]:
    """Wall-clock times in one of Snakemake's benchmark files, which is empty for a moment while it
    is written.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row["s"]) for row in csv.DictReader(file, delimiter="\t") if row["s"]]
