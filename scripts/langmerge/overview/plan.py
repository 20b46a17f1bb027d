"""What is still to be done of a run: its jobs, as Snakemake would find them, and what they take of time and disk. Pure Python, no torch.

Snakemake's own dry run is exact and knows nothing of hours and gigabytes; this knows them, and builds the same graph from the same grid.
It looks at what exists, not at dates and parameters: a job that Snakemake would repeat because an input is newer is not seen here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from langmerge.grid.grid import Grid, Model
from langmerge.overview.durations import hours

GB = 1e9


@dataclass(frozen=True)
class Job:
    """One job of the run.

    Attributes:
        rule: its rule's name.
        inputs, outputs: paths.
        model: what it makes or evaluates; None for the others.
    """

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    model: Model | None = None

    @property
    def kind(self) -> tuple[str, str]:
        """Jobs of one rule and backbone take about the same time."""
        return self.rule, self.model.backbone if self.model else ""


@dataclass(frozen=True)
class Time:
    """What the jobs of one kind take.

    Attributes:
        hours: of a job, None where neither a finished job nor the configuration tells; measured: which of the two tells.
        gpus: that a job holds.
    """

    rule: str
    backbone: str
    jobs: int
    hours: float | None
    measured: bool
    gpus: int

    @property
    def gpu_hours(self) -> float | None:
        return 0.0 if not self.gpus else None if self.hours is None else self.jobs * self.hours * self.gpus


class Plan:
    """What is still to be done of a run."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.exists = {path: Path(path).exists() for job in self.jobs for path in (*job.inputs, *job.outputs)}

    # ---- the graph

    @cached_property
    def jobs(self) -> list[Job]:
        """Every job that the rules can make for this run; a result that exists is sealed and has none."""
        found = [*self.references(), *self.cells(), *self.summaries()]
        return [*self.fetches(), *self.corpora(found), *found]

    def fetches(self) -> Iterator[Job]:
        """A folder of the cache that is there is a source."""
        for repository in self.grid.repositories:
            if not Path(repository["folder"]).is_dir():
                yield Job("fetch", (), (repository["folder"],))

    def corpora(self, readers: Iterable[Job]) -> Iterator[Job]:
        data = self.grid.root / "data"
        codes = {
            Path(path).relative_to(data).parts[0]
            for job in readers
            for path in job.inputs
            if Path(path).is_relative_to(data)
        }
        for code in sorted(codes):
            yield Job(
                "corpus", (), tuple(f"{data}/{code}/{name}" for name in ("corpus.jsonl", "instructions.jsonl", "tasks"))
            )

    def references(self) -> Iterator[Job]:
        """Tokenizers, trainings, and the evaluations of reference models."""
        grid = self.grid
        for name in grid.config["backbones"]:
            if "tokenizer" in grid.backbone(name):
                yield Job("tokenizer", tuple(grid.tokenizer_corpora(name)), (str(grid.tokenizer(name)),))
        for model in grid.models.values():
            if grid.is_trained(model):
                recipe = grid.training(model)
                yield Job(
                    "train", (*recipe["data"], recipe.get("from") or recipe["tokenizer"]), (grid.path(model),), model
                )
            if not model.is_merge:
                yield from self.evaluations(model)

    def cells(self) -> Iterator[Job]:
        """Merges and their evaluations."""
        grid = self.grid
        for model in grid.models.values():
            if model.is_merge:
                yield Job(
                    "merge", tuple(map(grid.path, grid.read_by(model))), (grid.path(model), grid.anatomy(model)), model
                )
                yield from self.evaluations(model)

    def evaluations(self, model: Model) -> Iterator[Job]:
        grid = self.grid
        for shard, tasks in grid.shards(model).items():
            result = grid.result(model, shard)
            if not Path(result).exists():
                inputs = (grid.path(model), *grid.task_folders(model, shard), *grid.datasets(tasks).values())
                yield Job("evaluate", inputs, (result,), model)

    def summaries(self) -> Iterator[Job]:
        """Scores, tables and figures."""
        grid, scores = self.grid, f"{self.grid.root}/scores.csv"
        yield Job("collect", tuple(grid.results), (scores,))
        paired_tables = grid.tables("paired")
        for name in grid.tables(*{table["layout"] for table in grid.config["tables"].values()}):
            paired = name in paired_tables
            endings = ("csv", "md") if paired else ("csv", "md", "tex")
            yield Job(
                "pair" if paired else "tabulate",
                tuple(grid.results) if paired else (scores,),
                self.files("tables", name, endings),
            )
        if grid.published():
            yield Job("compare", (scores, *grid.published()), self.files("tables", "compare", ("csv", "md", "html")))
        for name in grid.figures:
            yield Job("plot", (scores,), self.files("figures", name, ("pdf", "png", "svg")))
        if grid.anatomies():
            anatomies = tuple(merge["file"] for merge in grid.anatomies())
            yield Job("anatomy", anatomies, self.files("figures", "anatomy", ("pdf", "png", "svg")))

    def files(self, folder: str, name: str, endings: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{self.grid.root}/{folder}/{name}.{ending}" for ending in endings)

    @cached_property
    def targets(self) -> set[str]:
        """What `rule all` asks for."""
        summaries = {path for job in self.summaries() for path in job.outputs}
        return {*self.grid.results, *summaries}

    @cached_property
    def pending(self) -> list[Job]:
        """The jobs that Snakemake would run.

        One runs if a target of the run is missing that it makes, if a job that runs needs something missing from it, or if something
        that it reads is made anew; but fetched folders are of any age (`of_any_age` in rules/common.smk).
        """
        makers = {path: job for job in self.jobs for path in job.outputs}
        readers: dict[str, list[Job]] = {}
        for job in self.needed(makers):
            for path in job.inputs:
                readers.setdefault(path, []).append(job)
        waiting = [makers[path] for path in sorted(self.targets) if path in makers and not self.exists[path]]
        found = dict.fromkeys(waiting)
        while waiting:
            job = waiting.pop()
            before = [makers[path] for path in job.inputs if path in makers and not self.exists[path]]
            after = [reader for path in job.outputs for reader in readers.get(path, [])]
            for other in [*before, *after]:
                if other not in found:
                    found[other] = None
                    waiting.append(other)
        return [job for job in self.jobs if job in found]

    def needed(self, makers: dict[str, Job]) -> dict[Job, None]:
        """The jobs that the targets depend on, finished or not."""
        waiting = [makers[path] for path in sorted(self.targets) if path in makers]
        found = dict.fromkeys(waiting)
        while waiting:
            for path in waiting.pop().inputs:
                if path in makers and makers[path] not in found:
                    found[makers[path]] = None
                    waiting.append(makers[path])
        return found

    @property
    def counts(self) -> Counter:
        """Jobs by rule, as `snakemake --dry-run` counts them: `all` is one too."""
        counts = Counter(job.rule for job in self.pending)
        return counts + Counter(all=1) if counts else counts

    # ---- what is fetched

    @cached_property
    def to_fetch(self) -> list[dict[str, Any]]:
        """The entries of `Grid.repositories` that jobs to come read and that are not in the cache."""
        folders = {path for job in self.pending if job.rule == "fetch" for path in job.outputs}
        return [repository for repository in self.grid.repositories if repository["folder"] in folders]

    # ---- time

    @cached_property
    def times(self) -> list[Time]:
        """What the trainings, merges and evaluations take, by backbone; and the corpora, where jobs have been measured."""
        kinds = Counter(job.kind for job in self.pending if job.rule in ("corpus", "train", "merge", "evaluate"))
        return [
            Time(
                rule,
                backbone,
                jobs,
                *hours(self.grid, rule, backbone),
                self.grid.resources(rule, backbone).get("gpu", 0) if backbone else 0,
            )
            for (rule, backbone), jobs in kinds.items()
        ]

    def clock(self, jobs: int) -> float:
        """Hours from beginning to end with so many jobs at once, at least: jobs of unknown length and the fetching are not in it.

        The largest of three bounds: all work shared evenly; merges and their evaluations shared among `live_merges`; the longest chain.
        """
        length = {job: self.hours_of(job) for job in self.pending}
        cells = sum(time for job, time in length.items() if job.model and job.model.is_merge)
        return max(
            sum(length.values()) / jobs,
            cells / min(jobs, self.grid.config["live_merges"]),
            max(self.chains(length).values(), default=0.0),
        )

    def hours_of(self, job: Job) -> float:
        return next((time.hours or 0.0 for time in self.times if (time.rule, time.backbone) == job.kind), 0.0)

    def chains(self, length: dict[Job, float]) -> dict[Job, float]:
        """For each job the hours until it can be done, if nothing is waited for but what it reads."""
        makers = {path: job for job in length for path in job.outputs}
        done: dict[Job, float] = {}

        def finish(job: Job) -> float:
            if job not in done:
                done[job] = length[job] + max(
                    (finish(makers[path]) for path in job.inputs if path in makers), default=0.0
                )
            return done[job]

        for job in length:
            finish(job)
        return done

    # ---- disk

    def size(self, model: Model) -> float | None:
        """GB of a model's files: as they lie there, else as the configuration says, else as another model of the backbone has; or None."""
        source = self.grid.source_of(model)
        folder = Path(self.grid.path(model))
        return gigabytes(folder) if folder.is_dir() else source.get("gb")

    def size_like(self, model: Model) -> float | None:
        """GB of a model that this run makes: as instruct's or base's, which have its shape."""
        others = [
            other for other in self.grid.models.values() if other.backbone == model.backbone and not other.is_merge
        ]
        others.sort(key=lambda other: ("instruct", "base", "adapted", "joint").index(other.method))
        return next((size for size in map(self.size, others) if size), None)

    @cached_property
    def disk(self) -> dict[str, Any]:
        """GB that are written in all, that are there at the most at once, and the backbones whose models' size is not known."""
        made = [job.model for job in self.pending if job.rule in ("train", "merge")]
        sizes = {model: self.size_like(model) for model in made}
        trained = sum(size or 0.0 for model, size in sizes.items() if not model.is_merge)
        merged = sorted((size or 0.0 for model, size in sizes.items() if model.is_merge), reverse=True)
        fetched = sum(repository["gb"] or 0.0 for repository in self.to_fetch)
        there = sum(gigabytes(folder) for folder in self.kept())
        return {
            "there": there,
            "fetched": fetched,
            "trained": trained,
            "merged": sum(merged),
            "written": fetched + trained + sum(merged),
            "peak": there + fetched + trained + sum(merged[: self.grid.config["live_merges"]]),
            "unknown": sorted({model.backbone for model, size in sizes.items() if not size}),
        }

    def kept(self) -> list[Path]:
        """The folders that are there and stay: fetched repositories, and trained models that are not made again."""
        made = {path for job in self.pending for path in job.outputs}
        folders = [repository["folder"] for repository in self.grid.repositories]
        folders += [self.grid.path(model) for model in self.grid.models.values() if self.grid.is_trained(model)]
        return [Path(folder) for folder in folders if folder not in made and Path(folder).is_dir()]


def gigabytes(folder: Path) -> float:
    """Size of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / GB
