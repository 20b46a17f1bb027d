"""A run's configuration, and the files of languages, backbones and benchmarks that it names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from langmerge.errors import UserError
from langmerge.grid.folders import Folders
from langmerge.grid.schema import check_weights, validate
from langmerge.yamls import read_yaml

DEFAULTS = {
    "results": "results",
    "cache": "results/cache",
    "seed": 1,
    "evaluation_languages": [],
    "weights": [],
    "corpora": [],
    "live_merges": 4,
    "shards": "language",
    "task_settings": {},
    "world": {},
    "tables": {},
    "figures": {},
}


class Config:
    """What a run's file and the files that it names say.

    Attributes:
        run: the run's configuration, with defaults filled in.
        source: how messages call the run's configuration.
        languages: codes of the languages merged in; evaluated: those, and then the ones that are
            only evaluated.
    """

    def __init__(self, run: dict[str, Any], folders: Folders, source: str) -> None:
        """Check the run's configuration.

        Raises:
            UserError: it does not fit its schema; the message names file and key.
        """
        self.run = with_defaults(run)
        self.folders = folders
        self.source = source
        validate(self.run, "run", source)
        check_weights(self.run, source)
        self.languages: list[str] = self.run["languages"]
        self.evaluated = list(dict.fromkeys([*self.languages, *self.run["evaluation_languages"]]))
        self.language = cache(self._language)
        self.backbone = cache(self._backbone)

    def _language(self, code: str) -> dict[str, Any]:
        """The content of config/languages/<code>.yaml."""
        return self.file("language", code)

    def _backbone(self, name: str) -> dict[str, Any]:
        """The content of config/backbones/<name>.yaml."""
        return self.file("backbone", name)

    def file(self, kind: str, name: str) -> dict[str, Any]:
        """The content of a language's or a backbone's file: the user's own, else the shipped one.

        Raises:
            UserError: there is no such file, or it does not fit its schema.
        """
        path = self.folders.find(f"{kind}s/{name}.yaml")
        if path is None:
            known = ", ".join(self.folders.names(f"{kind}s"))
            raise UserError(
                f"{self.source}: unknown {kind} {name!r}: there is no {self.folders.own}/{kind}s/{name}.yaml. Known: {known}. "
                "Write that file, or correct the name."
            )
        content = read_yaml(path)
        validate(content, kind, str(path))
        return content

    def where(self, kind: str, name: str) -> str:
        """What messages call a language's or a backbone's file; of a shipped one, where to put a copy
        that may be changed.
        """
        own, path = self.folders.own / f"{kind}s" / f"{name}.yaml", self.folders.find(f"{kind}s/{name}.yaml")
        return str(own) if path in (own, None) else f"{path} (shipped; to change it, copy it to {own})"

    @cached_property
    def benchmarks(self) -> dict[str, dict[str, Any]]:
        """For each real task what it reads: the shipped benchmarks.yaml, and the user's, whose
        entries go first.

        Raises:
            UserError: a catalogue does not fit its schema, or an entry does not name exactly one
                source.
        """
        found: dict[str, dict[str, Any]] = {}
        for path in [folder / "benchmarks.yaml" for folder in reversed([*self.folders])]:
            if path.is_file():
                content = read_yaml(path) or {}
                validate(content, "benchmarks", str(path))
                found |= content
        return found

    @property
    def published(self) -> list[Path]:
        """The files of the published numbers that the run is compared with; none if it names no
        paper.
        """
        name = self.run.get("published")
        folder = self.folders.find(f"published/{name}") if name else None
        return sorted(folder.iterdir()) if folder else []

    @property
    def backbones(self) -> list[str]:
        return self.run["backbones"]

    def backbones_of_run(self, names: Iterable[str] | None) -> list[str]:
        """Those of an experiment's or a table's backbones that the run has; None: all.

        `--config backbones=...` runs a part of a large grid, whose tables name more.
        """
        return [name for name in self.backbones if names is None or name in names]


def with_defaults(run: dict[str, Any]) -> dict[str, Any]:
    """The configuration with defaults filled in, and with lists of the command line
    (`languages=eu,gl`) split.
    """
    run = {**DEFAULTS, **run}
    for key in ("languages", "evaluation_languages", "backbones", "corpora", "weights"):
        if isinstance(run.get(key), str | int | float):
            run[key] = [yaml.safe_load(item) if key == "weights" else item.strip() for item in str(run[key]).split(",")]
    run["experiments"] = {
        name: {"evaluate": "all", **experiment} if isinstance(experiment, dict) else experiment
        for name, experiment in (run.get("experiments") or {}).items()
    }
    return run
