"""How far a run is: for each of its jobs whether it is done, running, waiting or failed, from what is on disk alone.

A job is *done* when what it makes is there, or when nothing that is left to do needs it (a merged checkpoint is temporary).
Of the others the log tells: a job that works touches its log every `common.HEARTBEAT` seconds, on whatever machine it runs and
also when it has nothing to say; Snakemake writes the benchmark file after the log of a job that succeeded. So a log that is
followed by a benchmark belongs to a job that was done and must be done again (waiting), one that ends with `error:` to a job
that failed, one touched lately to a job that runs, and any other to a job that was killed or found no memory (failed).

Pure Python, no torch; a look at 10,000 cells takes a second or two.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from langmerge.cli import HEARTBEAT
from langmerge.evaluation.units import units
from langmerge.grid.grid import Grid, Model
from langmerge.overview.durations import hours

STATES = ("done", "running", "waiting", "failed")

SILENCE = 6 * HEARTBEAT
"""Seconds without a sign of life after which a job is taken for dead; starting Python on a busy shared file system takes a while."""

TAIL = 8192
"""Bytes at a log's end that an error message stands in."""

NO_WORD = "it ended without a word: killed, or out of memory?"


@dataclass(frozen=True)
class Job:
    """One job of the run.

    Attributes:
        stage: the rule that makes it: fetch, corpus, tokenizer, train, merge or evaluate.
        backbone, method: the row that it is counted in; empty for what is not of one backbone.
        state: one of STATES.
        parts: an evaluation's finished tasks (a seed counts as one) and all of them; (0, 1) or (1, 1) for other jobs.
        log: where it writes what it has to say.
        reason: why it failed, in a line.
    """

    stage: str
    backbone: str
    method: str
    state: str
    parts: tuple[int, int]
    log: Path
    reason: str = ""

    @property
    def left(self) -> float:
        """The share of its work that is still to be done."""
        return 0.0 if self.state == "done" else 1 - self.parts[0] / self.parts[1]


class Left(NamedTuple):
    """What is still to be done: hours of jobs one after another, hours of GPUs, and the (rule, backbone) of which no duration is known."""

    hours: float
    gpu_hours: float
    unknown: list[tuple[str, str]]
    measured: bool


class Progress:
    """The state of every job of a run at one moment."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.now = time.time()

    @cached_property
    def jobs(self) -> list[Job]:
        """Every job that the run has or had, in the order of the stages."""
        return [*self.fetches(), *self.corpora(), *self.tokenizers(), *self.models(), *self.evaluations]

    # ---- what is still needed

    @cached_property
    def missing(self) -> dict[str, Model]:
        """The models that are not there and that a missing result needs, itself or through the models that are made from them."""
        found: dict[str, Model] = {}
        wanted = [model for model, _, result in self.results if not result.exists()]
        while wanted:
            model = wanted.pop()
            if model.id not in found and not Path(self.grid.path(model)).exists():
                found[model.id] = model
                wanted += self.grid.read_by(model)
        return found

    @cached_property
    def results(self) -> list[tuple[Model, str, Path]]:
        """Every result of the run: its model, its shard and its file."""
        grid = self.grid
        return [
            (model, shard, Path(grid.result(model, shard)))
            for model in grid.models.values()
            for shard in grid.shards(model)
        ]

    # ---- jobs by stage

    def fetches(self) -> Iterator[Job]:
        """What comes from a hub, unless every result is there."""
        finished = all(result.exists() for _, _, result in self.results)
        for repository in self.grid.repositories:
            folder = Path(repository["folder"])
            yield self.job("fetch", "", "", f"{repository['kind']}/{folder.name}", done=finished or folder.is_dir())

    def corpora(self) -> Iterator[Job]:
        """The generated data of each language that training or a miniature task reads."""
        grid, data = self.grid, self.grid.root / "data"
        trained = [model for model in grid.models.values() if grid.is_trained(model)]
        needed = {
            path: model.id in self.missing
            for model in sorted(trained, key=lambda model: model.id in self.missing)
            for path in [
                *grid.training(model)["data"],
                *(grid.tokenizer_corpora(model.backbone) if self.makes_tokenizer(model) else []),
            ]
        }
        for model, shard, result in self.results:
            for folder in grid.task_folders(model, shard):
                needed[folder] = needed.get(folder, False) or not result.exists()
        languages: dict[str, bool] = {}
        for path, wanted in needed.items():
            if Path(path).is_relative_to(data):
                code = Path(path).relative_to(data).parts[0]
                languages[code] = languages.get(code, False) or wanted
        for code, wanted in languages.items():
            yield self.job("corpus", "", "", code, done=not wanted or (data / code / "tasks").exists())

    def tokenizers(self) -> Iterator[Job]:
        """The tokenizer of each backbone that is trained from scratch."""
        for backbone in self.grid.config["backbones"]:
            if "tokenizer" in self.grid.backbone(backbone):
                wanted = any(
                    model.backbone == backbone and self.makes_tokenizer(model) for model in self.missing.values()
                )
                yield self.job("tokenizer", "", "", backbone, done=not wanted or self.grid.tokenizer(backbone).exists())

    def makes_tokenizer(self, model: Model) -> bool:
        """Whether the model's training starts from nothing, and so needs the backbone's tokenizer."""
        return self.grid.is_trained(model) and "tokenizer" in self.grid.training(model)

    def models(self) -> Iterator[Job]:
        """The models that the run makes itself: trained ones and merges."""
        for model in self.grid.models.values():
            if model.is_merge or self.grid.is_trained(model):
                stage = "merge" if model.is_merge else "train"
                yield self.job(stage, model.backbone, model.method, named(model), done=model.id not in self.missing)

    @cached_property
    def evaluations(self) -> list[Job]:
        """The evaluation of each shard of each model."""
        return [self.evaluation(model, shard, result) for model, shard, result in self.results]

    def evaluation(self, model: Model, shard: str, result: Path) -> Job:
        grid, tasks = self.grid, self.grid.shards(model)[shard]
        if result.exists():
            number = sum(len(task.get("seeds") or [None]) for task in tasks)
            return self.job("evaluate", model.backbone, model.method, "", done=True, parts=(number, number))
        folder, asked = (
            result.parent / "tasks",
            (grid.model_key(model), grid.chat_template(model), grid.backbone(model.backbone).get("backend", {})),
        )
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        files = [unit.file(*asked) for unit in units(tasks, self.sources)]
        parts = (sum(file in there for file in files), len(files))
        return self.job(
            "evaluate",
            model.backbone,
            model.method,
            f"{named(model)}-{result.stem.replace('.', '-')}",
            done=False,
            parts=parts,
        )

    def sources(self, entry: dict[str, Any]) -> list[str]:
        """Names of the folders of the fetched data sets that a task reads."""
        return sorted(Path(folder).name for folder in self.grid.datasets([entry]).values())

    def job(
        self, stage: str, backbone: str, method: str, name: str, *, done: bool, parts: tuple[int, int] | None = None
    ) -> Job:
        place = Path(stage, backbone, name)
        log, benchmark = (
            self.grid.root / folder / place.with_name(place.name + end)
            for folder, end in (("logs", ".log"), ("benchmarks", ".tsv"))
        )
        state, reason = ("done", "") if done else self.state(log, benchmark)
        return Job(stage, backbone, method, state, parts or (int(done), 1), log, reason)

    def state(self, log: Path, benchmark: Path) -> tuple[str, str]:
        """The state of a job whose product is not there, and why if it failed."""
        try:
            touched = log.stat().st_mtime
        except FileNotFoundError:
            return "waiting", ""
        if benchmark.exists() and benchmark.stat().st_mtime >= touched:
            return "waiting", ""
        error = last_error(log)
        if error:
            return "failed", error
        return ("running", "") if self.now - touched < SILENCE else ("failed", NO_WORD)

    # ---- what is left

    @cached_property
    def left(self) -> Left:
        """What is still to be done, by the durations of finished jobs of the same kind or those that the configuration gives."""
        total, gpus, unknown, all_measured = 0.0, 0.0, {}, True
        kinds: dict[tuple[str, str], float] = {}
        for job in self.jobs:
            if job.state != "done":
                kinds[job.stage, job.backbone] = kinds.get((job.stage, job.backbone), 0.0) + job.left
        for (stage, backbone), amount in kinds.items():
            duration, measured = hours(self.grid, stage, backbone)
            if duration is None:
                unknown[stage, backbone] = None
                continue
            total += amount * duration
            gpus += amount * duration * (self.grid.resources(stage, backbone).get("gpu", 0) if backbone else 0)
            all_measured &= measured
        return Left(total, gpus, list(unknown), all_measured)


def named(model: Model) -> str:
    """How the files of a model's jobs are called, in the backbone's folder."""
    return "-".join(model.id.split("/")[1:])


def last_error(log: Path) -> str:
    """The first line of the message that a script ends with (`common.run_command`), if the log has one."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        tail = file.read().decode("utf-8", errors="replace")
    # A progress bar that was cut short has no newline behind it.
    found = re.findall(r"(?:^|[\]\r\n])error: ([^\r\n]*(?:\n  [^\r\n]+)*)\s*$", tail)
    return " ".join(found[-1].split()) if found else ""


def count(jobs: Iterable[Job]) -> dict[str, int]:
    """How many jobs are in each state."""
    states = [job.state for job in jobs]
    return {state: states.count(state) for state in STATES}
