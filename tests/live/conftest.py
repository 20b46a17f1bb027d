"""What the tests of merges in memory share: three models of each architecture, and a few tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.shaped import SHAPES, shaped_models
from support.tiny import make_world

NAMES = ("base", "instruct", "eu")


@pytest.fixture(scope="session")
def tasks(tmp_path_factory) -> Path:
    """The folder of Basque's tasks in the miniature world."""
    folder = tmp_path_factory.mktemp("world")
    make_world(folder / "eu")
    return folder / "eu" / "tasks"


@pytest.fixture(scope="session", params=SHAPES)
def parents(request, tmp_path_factory) -> Path:
    """A folder with base, instruct and eu, random models of one architecture."""
    return shaped_models(tmp_path_factory.mktemp(request.param), NAMES, request.param)


@pytest.fixture(scope="session")
def llamas(tmp_path_factory) -> Path:
    return shaped_models(tmp_path_factory.mktemp("llamas"), NAMES)
