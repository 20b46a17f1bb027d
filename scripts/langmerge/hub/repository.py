"""A repository on a hub that a run needs, and what of it is in the cache. Without a network and
without huggingface_hub: the Snakefile imports this too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from langmerge.errors import UserError

CARD = "README.md"
"""It has the configurations of a data set and their files: without it, `datasets` guesses them. Of
a model, it has the licence.
"""

LICENCE_FILES = [CARD, "LICEN[SC]E*", "NOTICE*", "USE_POLICY*"]
"""The files that say under which licence a model is, which `langmerge publish` reads."""

MODEL_FILES = ["*.safetensors", "*.json", "tokenizer*", "*.model", "*.jinja", "*.txt", *LICENCE_FILES]
"""The files of a model that are read, at the top of its repository."""

OTHERS = ["*/*", "consolidated*", "langmerge.json"]
"""Files of a model that are not: another format of the weights; the name of the cache's own record."""


@dataclass(frozen=True)
class Repository:
    """What a run needs of one repository (an entry of `Grid.repositories`): its kind (models or
    datasets), its name on the hub, a commit, tag or branch, the folder in the cache, which appears
    there complete, patterns of the needed files (none: all), and its size as configured or None.
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
        """The folder with what was downloaded so far; a killed download leaves it."""
        return self.folder.with_name(f"{self.folder.name}.partial")

    @property
    def patterns(self) -> dict[str, list[str]]:
        """Which files are needed, as huggingface_hub takes it."""
        if self.kind == "models":
            return {"allow_patterns": MODEL_FILES, "ignore_patterns": OTHERS}
        return {"allow_patterns": [*self.files, CARD] if self.files else ["*"], "ignore_patterns": [self.record_name]}

    @property
    def record_name(self) -> str:
        """The file that describes a folder; hidden in a data set, where `datasets` would read it."""
        return "langmerge.json" if self.kind == "models" else ".langmerge.json"

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """{hub, revision: the commit, patterns, files: {name: {size, sha256}}}, or None."""
        return read_record(self.folder / self.record_name)

    @property
    def complete(self) -> bool:
        """Whether all needed files are in the folder. Without a record it is the user's own."""
        if self.record is None:
            return self.folder.is_dir()
        fetched = self.record["patterns"]
        return not fetched or (bool(self.files) and {*self.files} <= {*fetched})


def read_record(path: Path) -> dict[str, Any] | None:
    """A record, or None if there is none.

    Raises:
        UserError: it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if {"hub", "revision", "patterns", "files"} <= {*record}:
            return record
    except (ValueError, TypeError):
        pass
    raise UserError(f"{path} is not a record of what was fetched. Delete its folder and fetch it again.")
