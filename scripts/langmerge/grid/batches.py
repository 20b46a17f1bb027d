"""Which evaluation jobs there are: models of a backbone that one process evaluates, one after
another.

Cells that are merged in memory share an engine: a *family*, all cells of a backbone that are not
finished, is cut into as many batches as there are jobs at once. Every other model is a batch of its
own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

from langmerge.grid.config import Config
from langmerge.grid.costs import Costs
from langmerge.grid.digest import digest
from langmerge.grid.layout import Layout
from langmerge.grid.models import Models
from langmerge.grid.recipes import Recipes
from langmerge.grid.reports import Reports
from langmerge.grid.resources import minutes
from langmerge.grid.results import Result, Results
from langmerge.grid.searches import Pool, Searches
from langmerge.live.batch import BatchFile
from langmerge.model import Model

STARTING = 0.1
"""Of a job's hours, the share that may be spent on loading the engine: smaller jobs are not worth
it.
"""

Work = tuple[Model, tuple[Result, ...]]
"""A model, and those of its results that are not there. Without any, its anatomy is missing."""


@dataclass(frozen=True)
class Batch:
    """What one evaluation job does.

    Attributes:
        name: of its files; it depends on what there is to do.
        in_memory: whether its models are formed in memory: merged cells, or one adapter.
        work: its models; of searches, those that they choose among.
        hours: that it is expected to take, None if nothing tells; minutes: that it asks for.
        pools: the searches that it does, none for a batch that evaluates all of its models.
    """

    backbone: str
    name: str
    in_memory: bool
    work: tuple[Work, ...]
    hours: float | None
    minutes: int
    pools: tuple[Pool, ...] = ()

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(result for _, results in self.work for result in results)

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(model for model, _ in self.work)

    def __str__(self) -> str:
        """The batch with its models, the weights of a method and target together."""
        weights: dict[str, list[str]] = {}
        for model in self.models:
            _, method, target, weight = model.id.split("/")
            weights.setdefault(f"{method} {target}", []).append(weight)
        models = "; ".join(" ".join([name, *own]) for name, own in weights.items())
        return f"{'search' if self.pools else 'evaluate'} {self.backbone}/{self.name}: {models}"


class Batches:
    """The evaluation jobs that are to be done.

    Attributes:
        at_once: how many jobs run at once; limit: minutes that the cluster gives to a job, if it
            says so. Who knows them sets them before the first look at the batches.
    """

    def __init__(
        self,
        config: Config,
        models: Models,
        recipes: Recipes,
        results: Results,
        searches: Searches,
        costs: Costs,
        reports: Reports,
        layout: Layout,
    ) -> None:
        self.config = config
        self.models = models
        self.recipes = recipes
        self.results = results
        self.searches = searches
        self.costs = costs
        self.reports = reports
        self.layout = layout
        self.at_once = 1
        self.limit: int | None = None

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.all)

    def find(self, backbone: str, name: str) -> Batch | None:
        """The batch with a name; None where it is another process's, or done."""
        return self.by_name.get((backbone, name))

    @cached_property
    def by_name(self) -> dict[tuple[str, str], Batch]:
        return {(batch.backbone, batch.name): batch for batch in self.all}

    @cached_property
    def unfinished(self) -> list[Work]:
        """The models that lack something, in the order of the grid, and what they lack."""
        missing: dict[Model, list[Result]] = {}
        for result in self.results:
            if not result.path.exists():
                missing.setdefault(result.model, []).append(result)
        for model in self.models.merges if self.needs_anatomies else []:
            if model not in missing and not self.layout.anatomy(model.id).exists():
                missing[model] = []
        return [(model, tuple(missing[model])) for model in self.models.by_id.values() if model in missing]

    @property
    def needs_anatomies(self) -> bool:
        """Whether a figure is drawn from them."""
        return any(report.layout.reads == "anatomies" for report in self.reports.by_name.values())

    @cached_property
    def all(self) -> list[Batch]:
        """Every batch, references first."""
        found: list[Batch] = []
        families: dict[str, list[Work]] = {}
        for work in self.unfinished:
            model, in_memory = work[0], self.recipes.in_memory(work[0])
            if model.is_merge and in_memory:
                families.setdefault(model.backbone, []).append(work)
            else:
                found.append(self.batch([work], in_memory))
        lengths = {name: self.length(family) for name, family in families.items()}
        total = sum(lengths.values())
        for name, family in families.items():
            share = math.ceil(self.at_once * lengths[name] / total) if total else self.at_once
            # By target, so that a job waits for the training of few languages.
            family.sort(key=lambda work: work[0].target)
            found += [self.batch(part, in_memory=True) for part in self.cut(family, share)]
        return [*found, *self.searching()]

    def searching(self) -> Iterator[Batch]:
        """The searches that are not done, those of a backbone in as many batches as there are jobs
        at once.
        """
        left: dict[str, list[Pool]] = {}
        for pool in self.searches:
            if not pool.record.exists():
                left.setdefault(pool.backbone, []).append(pool)
        for pools in left.values():
            pools.sort(key=lambda pool: pool.cells[0].target)
            asked = self.searches.budget * self.asked(work_of(pools))
            number = min(max(self.at_once, math.ceil(asked / (self.limit or math.inf))), len(pools))
            for part in range(number):
                own = pools[part * len(pools) // number : (part + 1) * len(pools) // number]
                yield self.batch(work_of(own), in_memory=True, pools=own)

    # ---- cutting

    def cut(self, family: list[Work], share: int) -> Iterable[list[Work]]:
        """A family in parts of about the same length: `share`, more where the time limit asks for
        it, fewer where starting would take too long.
        """
        hours, start = self.hours(family), self.costs.start(family[0][0].backbone)
        if hours is not None and start:
            share = min(share, max(math.floor(hours * STARTING / start), 1))
        number = min(max(share, math.ceil(self.asked(family) / (self.limit or math.inf))), len(family))
        lengths = [self.length([work]) for work in family]
        size, done = sum(lengths) / number, 0.0
        parts: dict[int, list[Work]] = {}
        for work, length in zip(family, lengths, strict=True):
            parts.setdefault(min(int((done + length / 2) / size), number - 1), []).append(work)
            done += length
        return parts.values()

    def batch(self, work: Sequence[Work], in_memory: bool, pools: Sequence[Pool] = ()) -> Batch:
        backbone, share = work[0][0].backbone, self.searches.budget if pools else 1.0
        does = [[model.id, *(str(result.path) for result in results)] for model, results in work]
        name = digest([str(pool.record) for pool in pools] or does)
        # Someone may have discarded exactly what an earlier batch has made.
        for again in count(2):
            if not self.layout.batch_done(backbone, name).exists():
                break
            name = digest([name, again])
        hours = self.hours(work)
        asked = self.within_limit(max(math.ceil(share * self.asked(work)), 1))
        return Batch(backbone, name, in_memory, tuple(work), hours and share * hours, asked, tuple(pools))

    def within_limit(self, minutes: int) -> int:
        return min(minutes, self.limit or minutes)

    # ---- estimates

    def length(self, work: Sequence[Work]) -> float:
        """What some work is worth when it is shared out: hours, or results where nothing tells."""
        hours = self.hours(work)
        return sum(max(len(results), 1) for _, results in work) if hours is None else max(hours, 1e-6)

    def hours(self, work: Sequence[Work]) -> float | None:
        """Hours of some work, the engine loaded once."""
        found = [self.hours_of(result) for _, results in work for result in results]
        if None in found:
            return None
        start = self.costs.start(work[0][0].backbone) or 0.0
        return sum(found) - max(len(found) - 1, 0) * start

    def hours_of(self, result: Result) -> float | None:
        """Hours of one result by itself."""
        model, shard = result.model, result.shard
        configured = self.costs.configured(model.backbone, shard)
        return self.costs.of_job(model, shard) if configured is None else configured

    def asked(self, work: Sequence[Work]) -> float:
        """Minutes that a job with all of some work asks for."""
        number = sum(max(len(results), 1) for _, results in work)
        return minutes(self.config, work[0][0].backbone, number, self.hours(work))

    # ---- what a job reads

    def reads(self, batch: Batch) -> list[Path]:
        """The models that a batch is made from, and what its tasks read."""
        found: dict[Path, None] = {}
        for model in batch.models:
            sources = self.recipes.read_by(model) if batch.in_memory else [model]
            found |= dict.fromkeys(path for source in sources for path in self.layout.folders(source))
        asked = {self.results.tasks.shards(result.model)[result.shard]: result for result in batch.results}
        for result in asked.values():
            found |= dict.fromkeys(self.results.data(result))
        return [*found, *self.waits_for(batch)]

    def waits_for(self, batch: Batch) -> list[Path]:
        """The marks of the evaluations that a search needs: of the instruct model, and of cells
        that it chooses among.
        """
        needs = {*batch.models, *(self.searches.instruct(pool.cells[0]) for pool in batch.pools)}
        others = [other for other in self.all if batch.pools and not other.pools and needs & {*other.models}]
        return [self.layout.batch_done(other.backbone, other.name) for other in others]

    def read_by(self, file: Path) -> list[Path]:
        """The models that the job of a batch file was made from, as far as they are in the run and
        still there.
        """
        models = [model.id for model in BatchFile.read(file).models] if file.is_file() else []
        known = [self.models.by_id[id] for id in models if id in self.models.by_id]
        read = dict.fromkeys(
            one for model in known for one in (self.recipes.read_by(model) if model.is_merge else [model])
        )
        return [folder for folder in map(self.layout.model, read) if folder.is_dir()]


def work_of(pools: Sequence[Pool]) -> list[Work]:
    """The cells that searches choose among."""
    return [own for pool in pools for own in zip(pool.cells, pool.results, strict=True)]
