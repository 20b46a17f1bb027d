"""Shared by the tests of the miniature world: the worlds of seven languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from langmerge.grid.folders import Folders
from langmerge.mini.cldr import Language
from support.mini import CODES, generate


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder for each language."""
    folder = tmp_path_factory.mktemp("world")
    for code in CODES:
        generate(folder / code, code)
    return folder


@pytest.fixture(scope="session")
def languages() -> dict[str, Language]:
    return {code: Language.load(Folders(own=Path("nowhere")), code) for code in CODES}
