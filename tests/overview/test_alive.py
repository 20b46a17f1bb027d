"""Which state `status` gives a job, from its log and from whether a process holds it."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from langmerge.grid.grid import Grid
from langmerge.overview.alive import is_held, is_local
from langmerge.overview.progress import NO_WORD, SILENCE, STARTING, Snapshot
from support.project import TINY_BACKBONE, TINY_RUN, Project

WAITING = """
import time
from langmerge import cli
import langmerge.commands.plan as plan
plan.run = lambda options: print("working", flush=True) or time.sleep(600)
cli.main(["plan", "run.yaml"])
"""


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "results/tiny/logs/corpus/eu.log"


@pytest.fixture
def state(tmp_path, monkeypatch, log):
    """What `status` says of the job that writes this log."""
    Project(tmp_path, copy.deepcopy(TINY_RUN)).write("backbones/tiny.yaml", TINY_BACKBONE)
    monkeypatch.chdir(tmp_path)
    log.parent.mkdir(parents=True)
    grid = Grid(copy.deepcopy(TINY_RUN))
    return lambda: Snapshot(grid).state(log, grid.layout.benchmark("corpus", "eu"))


def written(log: Path, text: str, seconds_ago: float) -> None:
    log.write_text(text)
    os.utime(log, (time.time() - seconds_ago,) * 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("loading\nerror: a is not b\n", "a is not b"),
        ("Traceback (most recent call last):\n  File x\nValueError: no such thing\n", "ValueError: no such thing"),
        ("Traceback ...\nlm_eval.api.SomeError: broken", "lm_eval.api.SomeError: broken"),
    ],
)
def test_a_log_that_ends_with_a_reason_is_quoted_at_once(state, log, text, reason):
    written(log, text, 0)
    found, said = state()
    assert (found, said[: len(reason)]) == ("failed", reason)


def test_a_job_whose_process_is_gone_has_failed_within_seconds(state, log):
    assert is_local(log.parent), "the tests' own folder"
    written(log, "step 3 of 9\n", 0)
    assert state() == ("running", ""), "it may be starting"
    written(log, "step 3 of 9\n", STARTING + 1)
    assert state() == ("failed", "step 3 of 9")
    written(log, "", STARTING + 1)
    assert state() == ("failed", NO_WORD)


def test_where_locks_say_nothing_the_heartbeat_does(state, log, monkeypatch):
    monkeypatch.setattr("langmerge.overview.alive.LOCAL", set())
    written(log, "step 3 of 9\n", SILENCE - 10)
    assert state() == ("running", "")
    written(log, "step 3 of 9\n", SILENCE + 10)
    assert state() == ("failed", "step 3 of 9")


def test_a_command_holds_its_log_until_it_is_killed(state, log):
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", WAITING], stdout=file, stderr=file)
    try:
        limit = time.monotonic() + 60
        while not is_held(log):
            assert time.monotonic() < limit and process.poll() is None, log.read_text()
            time.sleep(0.05)
        os.utime(log, (0, 0))
        assert state() == ("running", ""), "however long it is silent"
    finally:
        process.kill()
        process.wait()
    assert is_held(log) is False
    assert state()[0] == "failed"
