"""What is still to be done of a run: its jobs, as Snakemake would find them, and what they take of
time and disk.

Snakemake's own dry run is exact and knows nothing of hours and gigabytes; this knows them. It looks
at what exists, not at dates and parameters: a job that Snakemake would repeat because an input is
newer is not seen here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from langmerge.grid.batches import Batch
from langmerge.grid.grid import Grid
from langmerge.grid.jobs import Job
from langmerge.grid.resources import TRAININGS
from langmerge.grid.searches import Pool
from langmerge.model import Model
from langmerge.overview.corpora import TIMED as OF_CORPORA
from langmerge.overview.durations import SOURCES, Durations
from langmerge.overview.trainings import Training, training

GB = 1e9

RULES = {"train": "train", "export": "train", "merge": "merge", "keep": "keep"}
"""The rules that write a model, and what disk is counted as."""

TIMED = ("corpus", *OF_CORPORA, "train", "train_ranks", "merge", "keep", "evaluate")
"""Rules whose jobs take time worth planning."""

TYPICAL = 0.95
"""Which share of its budget a search spends: measured in the miniature
(docs/benchmarks/2026-11-27-search.md). With many documents, more cells are dropped early.
"""

BY_SHAPE = ("instruct", "base", "adapted", "joint")
"""The reference models that tell how large a model of the backbone is, the best first."""


@dataclass(frozen=True)
class Time:
    """What the jobs of one rule and backbone take.

    Attributes:
        jobs: how many there are; unknown: of how many nothing tells how long they take.
        hours: the mean of the others; None if there are none.
        source: what tells, of SOURCES; of several the least certain.
        gpus: that a job holds.
    """

    rule: str
    backbone: str
    jobs: int
    unknown: int
    hours: float | None
    source: str
    gpus: int

    @property
    def gpu_hours(self) -> float | None:
        """Of all jobs that are known."""
        return (
            0.0
            if not self.gpus
            else None
            if self.hours is None
            else (self.jobs - self.unknown) * self.hours * self.gpus
        )


class Plan:
    """What is still to be done of a run."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.durations = Durations(grid)
        self.jobs = [job for job in grid.jobs if not is_source(job)]
        self.exists = {path: path.exists() for job in self.jobs for path in (*job.inputs, *job.outputs)}
        self.makers = {path: job for job in self.jobs for path in job.outputs}

    # ---- the graph

    @cached_property
    def targets(self) -> list[Path]:
        """What `rule all` asks for."""
        summaries = [path for job in self.grid.jobs.summaries() for path in job.outputs]
        done = [path for job in self.jobs if job.rule in ("evaluate", "keep") for path in job.outputs]
        return sorted({*done, *summaries})

    @cached_property
    def pending(self) -> list[Job]:
        """The jobs that Snakemake would run.

        A job runs if a target that it makes is missing, if a job that runs needs something missing
        from it, or if something that it reads is made again. Fetched folders count as of any age,
        as in the rules.
        """
        readers: dict[Path, list[Job]] = {}
        for job in self.needed():
            for path in job.inputs:
                readers.setdefault(path, []).append(job)
        waiting = [self.makers[path] for path in self.targets if path in self.makers and not self.exists[path]]
        found = dict.fromkeys(waiting)
        while waiting:
            job = waiting.pop()
            before = [self.makers[path] for path in job.inputs if path in self.makers and not self.exists[path]]
            after = [reader for path in job.outputs for reader in readers.get(path, [])]
            for other in [*before, *after]:
                if other not in found:
                    found[other] = None
                    waiting.append(other)
        return [job for job in self.jobs if job in found]

    def needed(self) -> Iterable[Job]:
        """The jobs that the targets depend on, finished or not."""
        waiting = [self.makers[path] for path in self.targets if path in self.makers]
        found = dict.fromkeys(waiting)
        while waiting:
            for path in waiting.pop().inputs:
                if path in self.makers and self.makers[path] not in found:
                    found[self.makers[path]] = None
                    waiting.append(self.makers[path])
        return found

    @property
    def counts(self) -> Counter:
        """Jobs by rule, as `snakemake --dry-run` counts them: `all` is one too."""
        counts = Counter(job.rule for job in self.pending)
        return counts + Counter(all=1) if counts else counts

    @property
    def families(self) -> list[dict[str, Any]]:
        """For each backbone whose cells are merged in memory: cells, jobs, the largest job's cells,
        and the minutes that a job asks for.
        """
        found: dict[str, list[Batch]] = {}
        for batch in self.grid.batches:
            if batch.in_memory and not batch.pools and batch.models[0].is_merge:
                found.setdefault(batch.backbone, []).append(batch)
        return [
            {
                "backbone": backbone,
                "cells": sum(len(batch.work) for batch in batches),
                "jobs": len(batches),
                "largest": max(len(batch.work) for batch in batches),
                "minutes": max(batch.minutes for batch in batches),
            }
            for backbone, batches in found.items()
        ]

    @property
    def searches(self) -> list[dict[str, Any]]:
        """For each backbone that is searched: searches, their cells, and how many whole cells their
        documents are, at most and as in the miniature.
        """
        pools = [pool for batch in self.grid.batches for pool in batch.pools]
        found: dict[str, list[Pool]] = {}
        for pool in pools:
            found.setdefault(pool.backbone, []).append(pool)
        budget = self.grid.searches.budget
        return [
            {
                "backbone": backbone,
                "searches": len(own),
                "cells": (cells := sum(len(pool.cells) for pool in own)),
                "budget": budget,
                "most": budget * cells,
                "typical": TYPICAL * budget * cells,
            }
            for backbone, own in found.items()
        ]

    # ---- what is fetched

    @cached_property
    def to_fetch(self) -> list[dict[str, Any]]:
        """The repositories that jobs to come read and that are not in the cache."""
        folders = {str(path) for job in self.pending if job.rule == "fetch" for path in job.outputs}
        return [repository for repository in self.grid.repositories if repository["folder"] in folders]

    # ---- time

    @cached_property
    def times(self) -> list[Time]:
        """What the trainings, merges and evaluations take, by backbone; and the corpora, where jobs
        have been measured.
        """
        kinds: dict[tuple[str, str], list[Job]] = {}
        for job in self.pending:
            if job.rule in TIMED:
                kinds.setdefault((job.rule, job.backbone), []).append(job)
        return [self.time(rule, backbone, jobs) for (rule, backbone), jobs in kinds.items()]

    def time(self, rule: str, backbone: str, jobs: list[Job]) -> Time:
        """What jobs of one rule and backbone take."""
        durations = list(map(self.durations.of, jobs))
        known = [duration.hours for duration in durations if duration.hours is not None]
        source = max((duration.source for duration in durations), key=SOURCES.index)
        mean = fmean(known) if known else None
        return Time(rule, backbone, len(jobs), len(jobs) - len(known), mean, source, self.gpus(rule, backbone))

    def gpus(self, rule: str, backbone: str) -> int:
        return self.grid.resources(rule, backbone).get("gpu", 0) if backbone else 0

    def clock(self, jobs: int) -> float:
        """A lower bound of the hours from beginning to end with so many jobs at once, without
        fetching and unknown durations.

        It is the largest of three bounds: all work shared evenly, merges and their evaluations
        shared among `live_merges`, and the longest chain of jobs that wait for one another.
        """
        length = {job: (self.durations.of(job).hours or 0.0) if job.rule in TIMED else 0.0 for job in self.pending}
        written = [job for job in self.pending if job.model and job.model.is_merge and job.rule != "keep"]
        cells = sum(length[job] for job in written)
        at_once = min(jobs, self.grid.config["live_merges"])
        longest = max(self.chains(length).values(), default=0.0)
        return max(sum(length.values()) / jobs, cells / at_once, longest)

    def chains(self, length: dict[Job, float]) -> dict[Job, float]:
        """For each job the hours until it can be done if it waits only for what it reads."""
        makers = {path: job for job in length for path in job.outputs}
        done: dict[Job, float] = {}

        def finish(job: Job) -> float:
            if job not in done:
                before = (finish(makers[path]) for path in job.inputs if path in makers)
                done[job] = length[job] + max(before, default=0.0)
            return done[job]

        for job in length:
            finish(job)
        return done

    @cached_property
    def trainings(self) -> list[Training]:
        """What each training that is to be run takes."""
        return [training(self.grid, job.model) for job in self.pending if job.rule in TRAININGS]

    # ---- disk

    def size(self, model: Model) -> float | None:
        """GB of a reference model: of its files, else as the configuration says, else None."""
        folder = self.grid.layout.model(model)
        return gigabytes(folder) if folder.is_dir() else self.grid.sources.of(model).get("gb")

    def size_like(self, model: Model) -> float | None:
        """GB of a model that this run makes, from a reference model of the backbone, which has the
        same shape.
        """
        others = [other for other in self.grid.expansion.reference_models if other.backbone == model.backbone]
        others.sort(key=lambda other: BY_SHAPE.index(other.method))
        return next((size for size in map(self.size, others) if size), None)

    @cached_property
    def disk(self) -> dict[str, Any]:
        """GB: `there` now, `fetched`, `trained`, `merged`, `written` in all, the `peak`; the
        `checkpoints` of the largest training; and backbones of `unknown` size.
        """
        made = [(RULES[job.rule], job.model) for job in self.pending if job.rule in RULES]
        sizes = {model: self.size_like(model) for _, model in made}
        trained, merged, kept = (
            sorted((sizes[model] or 0.0 for rule, model in made if rule == own), reverse=True)
            for own in ("train", "merge", "keep")
        )
        fetched = sum(repository["gb"] or 0.0 for repository in self.to_fetch)
        there = sum(gigabytes(folder) for folder in self.kept())
        return {
            "there": there,
            "fetched": fetched,
            "trained": sum(trained),
            "merged": sum(merged) + sum(kept),
            "written": fetched + sum(trained) + sum(merged) + sum(kept),
            "peak": there + fetched + sum(trained) + sum(kept) + sum(merged[: self.grid.config["live_merges"]]),
            "checkpoints": max((found.checkpoints or 0.0 for found in self.trainings), default=0.0),
            "unknown": sorted({model.backbone for model, size in sizes.items() if not size}),
        }

    def kept(self) -> list[Path]:
        """The folders that are there and stay: fetched repositories, and trained models that are
        not made again.
        """
        made = {path for job in self.pending for path in job.outputs}
        folders = [Path(repository["folder"]) for repository in self.grid.repositories]
        trained = [model for model in self.grid.expansion.reference_models if self.grid.sources.is_trained(model)]
        folders += [self.grid.layout.made(model.id) for model in trained]
        return [folder for folder in folders if folder not in made and folder.is_dir()]


def is_source(job: Job) -> bool:
    """Whether Snakemake takes what the job makes for a source: a fetched folder that is there."""
    return job.rule == "fetch" and job.outputs[0].exists()


def gigabytes(folder: Path) -> float:
    """Size of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / GB
