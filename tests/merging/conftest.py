"""Fixtures of the tests of merging."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.mergekit import make_environment
from support.merging import write_model


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working folder, with the models base, instruct and eu."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["base", "instruct", "eu"]):
        write_model(tmp_path / name, seed)
    return tmp_path


@pytest.fixture(scope="session")
def mergekit_python() -> Path:
    """The Python of mergekit's environment, which is made the first time and whenever its
    requirements change.
    """
    return make_environment()
