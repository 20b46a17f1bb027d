"""A repository on a hub that a run needs, and what of it is in the cache.

Without a network and without huggingface_hub: the Snakefile imports this too.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.files import glob_escape

MODEL_FILES = ["*.safetensors", "*.json", "tokenizer*", "*.model", "*.jinja", "*.txt"]
"""The files of a model that merging and evaluation read, at the top of its repository."""

OTHER_FORMATS = ["consolidated*"]
"""A second copy of the weights, in the format of their authors' own code."""

CARD = "README.md"
"""It has the configurations of a data set and their files. Without it, `datasets` guesses them."""

RECORD = "langmerge.json"


@dataclass(frozen=True)
class Repository:
    """What a run needs of one repository (an entry of `Grid.repositories`).

    Attributes:
        kind: models or datasets.
        hub: its name on the hub, organisation/name.
        revision: a commit, tag or branch.
        folder: where it is in the cache. The folder appears there complete, by being renamed.
        files: patterns of the needed files of a data set; empty for all.
        gb: its size in GB according to the configuration, or None.
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
        """Its web page, where access is requested. Mirrors have no such pages."""
        return f"https://huggingface.co/{'datasets/' if self.kind == 'datasets' else ''}{self.hub}"

    @property
    def partial(self) -> Path:
        """The folder beside `folder` with what was downloaded so far; a killed download leaves it."""
        return self.folder.with_name(f"{self.folder.name}.partial")

    def record_in(self, folder: Path) -> Path:
        """The file that describes a folder; hidden in a data set, where `datasets` would read it."""
        return folder / (RECORD if self.kind == "models" else f".{RECORD}")

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """{hub, revision: the commit, patterns, files: {name: {size, sha256}}}, or None.

        Raises:
            UserError: the record cannot be read.
        """
        path = self.record_in(self.folder)
        return read_record(path) if path.is_file() else None

    @property
    def complete(self) -> bool:
        """Whether all needed files are in the folder. Without a record it is the user's own."""
        if self.record is None:
            return self.folder.is_dir()
        fetched = self.record["patterns"]
        return not fetched or (bool(self.files) and {*self.files} <= {*fetched})

    def wants(self, name: str) -> bool:
        """Whether a file of the repository is needed."""
        if self.record_in(Path()).name == name:
            return False  # the cache has a record of that name
        if self.kind == "models":
            return "/" not in name and matches(name, MODEL_FILES) and not matches(name, OTHER_FORMATS)
        return not self.files or matches(name, [*self.files, CARD])

    def siblings(self, commit: str) -> Iterator[Path]:
        """Folders of the same repository that hold this commit under another revision's name.

        Such as `main`, before the revision was pinned.
        """
        for folder in self.folder.parent.glob(f"{glob_escape(self.folder.name.rpartition('@')[0])}@*"):
            path = self.record_in(folder)
            if folder not in (self.folder, self.partial) and path.is_file() and read_record(path)["revision"] == commit:
                yield folder


def is_safe(name: str) -> bool:
    """Whether a hub's name of a file can be a path in a folder, on any system, and be printed.

    Not safe are absolute paths, the parts `..`, `.` and the empty one, backslashes, drive letters
    and control characters.
    """
    return not (
        {"", ".", ".."} & {*name.split("/")}
        or "\\" in name
        or re.match("[A-Za-z]:", name)
        or any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
    )


def matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if {"hub", "revision", "patterns", "files"} <= {*record}:
            return record
    except (ValueError, TypeError):
        pass
    raise UserError(f"{path} is not a record of what was fetched. Delete its folder and fetch it again.")
