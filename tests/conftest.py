"""Shared by the tests: the shipped configuration, and projects of their own in which Snakemake really runs."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shipped_config() -> dict:
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.fixture
def config(shipped_config) -> dict:
    """The default run's configuration, to be changed by a test."""
    return copy.deepcopy(shipped_config)
