"""The sealed results of a run: one per model and shard, whose name says all that determines it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from langmerge.grid.digest import digest
from langmerge.grid.hub import HubNeeds
from langmerge.grid.identity import Identity
from langmerge.grid.layout import Layout
from langmerge.grid.models import Models
from langmerge.grid.tasks import Tasks
from langmerge.model import Model


@dataclass(frozen=True)
class Result:
    """One sealed result.

    Attributes:
        path: its file. If it is there, it is right, and its model need not exist any more.
        samples: the folder of the answers behind it.
    """

    model: Model
    shard: str
    fingerprint: str
    path: Path
    samples: Path


class Results:
    """The results of a run."""

    def __init__(self, models: Models, tasks: Tasks, identity: Identity, hub: HubNeeds, layout: Layout) -> None:
        self.models = models
        self.tasks = tasks
        self.identity = identity
        self.hub = hub
        self.layout = layout

    def of(self, model: Model, shard: str) -> Result:
        """The result of one shard of a model."""
        fingerprint = self.identity.fingerprint(model, shard)
        path = self.layout.result(model.id, shard, fingerprint)
        return Result(model, shard, fingerprint, path, self.layout.samples(model.id))

    @cached_property
    def all(self) -> list[Result]:
        return [self.of(model, shard) for model in self.models.by_id.values() for shard in self.tasks.shards(model)]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    @cached_property
    def names(self) -> str:
        """A hash of the names of all results that the configuration asks for, whatever searches
        find.
        """
        found = {*self.models.found}
        return digest([str(result.path) for result in self.all if result.model not in found])

    def tasks_of(self, result: Result) -> list[dict[str, Any]]:
        """The entries of the tasks that a result is of."""
        return self.tasks.of_shard(result.model, result.shard)

    def data(self, result: Result) -> tuple[Path, ...]:
        """What the evaluation reads besides the model: generated tasks, fetched data sets."""
        tasks = self.tasks_of(result)
        return (*self.tasks.generated(tasks), *self.tasks.datasets(tasks).values())

    def parts(self, result: Result) -> list[Path]:
        """The files of a result's parts, one for each task and seed, from which an evaluation
        resumes.
        """
        model = result.model
        asked = self.identity.model_key(model), self.tasks.chat_template(model), self.tasks.backend(model)
        folder = self.layout.parts(model.id)
        return [folder / unit.file(*asked) for unit in self.tasks.units(model, result.shard)]
