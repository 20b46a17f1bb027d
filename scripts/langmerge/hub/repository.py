"""A repository of a hub that a run wants, and what of it lies in the cache. No network, nothing heavy: the Snakefile reads this too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from langmerge.errors import UserError

MODEL_FILES = ["*.safetensors", "*.json", "tokenizer*", "*.model", "*.jinja", "*.txt"]
"""What merging and evaluating read of a model, at the top of its repository."""

OTHER_FORMS = ["consolidated*"]
"""The same weights once more, as their makers' own code reads them."""

CARD = "README.md"
"""It names the configurations of a data set and the files of each: without it `datasets` guesses."""

RECORD = "langmerge.json"


@dataclass(frozen=True)
class Repository:
    """What a run wants of one repository (an entry of `Grid.repositories`).

    Attributes:
        kind: models or datasets.
        hub: its name on the hub, organisation/name.
        revision: a commit, tag or branch.
        folder: where its files lie when they are complete; it appears there whole, by being renamed.
        files: patterns of a data set's files that are needed; none for all.
        gb: its size as the configuration gives it, or None.
    """

    kind: str
    hub: str
    revision: str
    folder: Path
    files: tuple[str, ...]
    gb: float | None = None

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Repository:
        return cls(**{**entry, "folder": Path(entry["folder"]), "files": tuple(entry["files"])})

    @property
    def page(self) -> str:
        """Where a person looks at it, and asks for access; mirrors have no such pages."""
        return f"https://huggingface.co/{'datasets/' if self.kind == 'datasets' else ''}{self.hub}"

    @property
    def partial(self) -> Path:
        """The folder beside its place that holds what has come so far, also after a killed download."""
        return self.folder.with_name(f"{self.folder.name}.partial")

    def record_in(self, folder: Path) -> Path:
        """The file that says what a folder holds. Hidden in a data set, for `datasets` would read it as data."""
        return folder / (RECORD if self.kind == "models" else f".{RECORD}")

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """{hub, revision: the commit, patterns, files: {name: {size, sha256}}}; None where nothing was fetched.

        Raises:
            UserError: the record cannot be read.
        """
        path = self.record_in(self.folder)
        return read_record(path) if path.is_file() else None

    @property
    def complete(self) -> bool:
        """Whether all that is wanted lies in the folder. One without a record was put there by hand, and is taken as it is."""
        if self.record is None:
            return self.folder.is_dir()
        had = self.record["patterns"]
        return not had or (bool(self.files) and {*self.files} <= {*had})

    def wants(self, name: str) -> bool:
        """Whether a file of the repository is needed."""
        if self.kind == "models":
            return "/" not in name and matches(name, MODEL_FILES) and not matches(name, OTHER_FORMS)
        return not self.files or matches(name, [*self.files, CARD])

    def siblings(self, commit: str) -> Iterator[Path]:
        """Folders of the same repository under another revision's name that hold this very commit: `main`, before it was pinned."""
        for folder in self.folder.parent.glob(f"{self.folder.name.rpartition('@')[0]}@*"):
            path = self.record_in(folder)
            if folder not in (self.folder, self.partial) and path.is_file() and read_record(path)["revision"] == commit:
                yield folder


def matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if {"hub", "revision", "patterns", "files"} <= {*record}:
            return record
    except (json.JSONDecodeError, TypeError):
        pass
    raise UserError(f"{path} is not a record of what was fetched. Delete the folder, and fetch it again.")
