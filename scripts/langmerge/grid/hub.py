"""What a run needs of a hub: models and data sets, each with its revision and the folder that it is
fetched into.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from langmerge.grid.config import Config
from langmerge.grid.corpora import Corpora
from langmerge.grid.layout import Layout
from langmerge.grid.models import Models
from langmerge.grid.sources import Sources
from langmerge.grid.tasks import Tasks


class HubNeeds:
    """The repositories of a run."""

    def __init__(
        self, config: Config, models: Models, sources: Sources, tasks: Tasks, corpora: Corpora, layout: Layout
    ) -> None:
        self.config = config
        self.corpora = corpora
        self.models = models
        self.sources = sources
        self.tasks = tasks
        self.layout = layout

    @cached_property
    def repositories(self) -> list[dict[str, Any]]:
        """Everything that a hub provides: {kind, hub, revision, folder, files, gb}, each once,
        models first.

        `files` are patterns of a data set's files that are needed, none for all; `gb` is the size
        that the configuration gives, or None.
        """
        sources = (self.sources.of(model) for model in self.models.reference_models)
        wanted = [("models", source) for source in sources if "hub" in source]
        entries = (
            self.tasks.entry(task["task"]) or {} for code in self.config.evaluated for task in self.tasks.of(code)
        )
        wanted += [("datasets", {**entry, "hub": entry["dataset"]}) for entry in entries if "dataset" in entry]
        wanted += [("datasets", corpus.repository) for corpus in self.corpora if corpus.repository]
        found: dict[str, dict[str, Any]] = {}
        for kind, source in wanted:
            hub, revision = source["hub"], source.get("revision", "main")
            folder = str(self.layout.fetched(kind, hub, revision))
            known = found.setdefault(
                folder, {"kind": kind, "hub": hub, "revision": revision, "folder": folder, "gb": None}
            )
            known["gb"] = known["gb"] or source.get("gb")
            known["files"] = self.files(hub, revision) if kind == "datasets" else []
        return list(found.values())

    def files(self, dataset: str, revision: str) -> list[str]:
        """Patterns of the files that the catalogue's tasks and the run's corpora read of a data
        set; none means all.

        Also those of tasks that this run does not have: runs share the cache, and what tasks read
        must not depend on which run came first.
        """
        entries = [
            entry
            for entry in self.config.benchmarks.values()
            if entry.get("dataset") == dataset and entry.get("revision", "main") == revision
        ]
        if not all("files" in entry for entry in entries):
            return []
        of_corpora = self.corpora.patterns(dataset, revision)
        return sorted({*of_corpora, *(pattern for entry in entries for pattern in entry["files"])})

    @property
    def unpinned(self) -> list[str]:
        """Names on the hub without a revision: what they are may change from one day to the next."""
        return [repository["hub"] for repository in self.repositories if repository["revision"] == "main"]
