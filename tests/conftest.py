"""Shared by the tests: the shipped configuration, and projects of their own in which Snakemake
really runs.
"""

from __future__ import annotations

import copy
import fcntl
import os
import shutil

import pytest
import yaml

from langmerge.cli import look_at_old_objects_less_often
from support.browser import PROGRAM
from support.paths import ROOT
from support.project import TINY_RUN, Project

# As many processes of tests as there are cores, and their libraries are not loaded yet. What they
# start has it, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Thousands of collected tests stay, too.
look_at_old_objects_less_often()

SLOW = ["vllm", "slurm", "workflow", "parity", "smollm"]
"""Markers of slow tests, those with the longest files first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests go first, and of the slow ones the longest, so that none of them runs alone at
    the end.
    """
    items.sort(key=lambda item: min((n for n, name in enumerate(SLOW, 1) if item.get_closest_marker(name)), default=0))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without Chromium, tests of pages are skipped, but not in CI, which installs it."""
    if item.get_closest_marker("browser") and PROGRAM is None:
        message = "no chromium; on Debian: apt install chromium"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)


@pytest.fixture(scope="session")
def shipped_config() -> dict:
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.fixture
def config(shipped_config) -> dict:
    """The default run's configuration, to be changed by a test."""
    return copy.deepcopy(shipped_config)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A run of one language and two weights, finished from nothing: once for all processes of the
    tests, each of which has a copy.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    first = Project(shared / "finished", copy.deepcopy(TINY_RUN))
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "finished.done").exists():
            shutil.rmtree(first.folder, ignore_errors=True)
            ran = Project.new(first.folder, first.config).run()
            assert ran.jobs["train"] == 3
            assert ran.jobs["recipes"] == 2
            assert ran.jobs["evaluate"] == 3 + 2  # references; two cells, one for each core
            (shared / "finished.done").touch()
    return first.copy(tmp_path_factory.mktemp("finished") / "project")
