"""What the tests of merges in memory share: three models of each architecture, and a few tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.shaped import SHAPES, shaped_model
from support.tiny import make_world


@pytest.fixture(scope="session")
def tasks(tmp_path_factory) -> Path:
    """The folder of Basque's tasks in the miniature world."""
    folder = tmp_path_factory.mktemp("world")
    make_world(folder / "eu")
    return folder / "eu" / "tasks"


@pytest.fixture(scope="session", params=SHAPES)
def parents(request, tmp_path_factory) -> Path:
    """A folder with base, instruct and eu, random models of one architecture."""
    folder = tmp_path_factory.mktemp(request.param)
    for seed, name in enumerate(("base", "instruct", "eu")):
        shaped_model(folder / name, request.param, seed)
    return folder


@pytest.fixture(scope="session")
def llamas(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("llamas")
    for seed, name in enumerate(("base", "instruct", "eu")):
        shaped_model(folder / name, "llama", seed)
    return folder
