"""The rules that fetch: they run Snakemake against a local hub."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from support.hub_run import RUN
from support.project import Project

KEPT = "results/real/kept/small/linear/eu/w1"

pytestmark = pytest.mark.workflow


@pytest.fixture
def project(work, monkeypatch) -> Project:
    """The run in a user's folder, in which Snakemake runs against the hub."""
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    for name in ("HF_ENDPOINT", "HF_HOME", "no_proxy"):
        monkeypatch.setenv(name, work.environment[name])
    made = Project(work.folder, {**RUN})
    made.configure(keep=["small/linear/eu/w1"])
    return made


def test_a_dry_run_needs_no_network_and_the_plan_names_what_has_no_revision(project, hub):
    ran = project.run("--dry-run")
    assert ran.jobs["fetch"] == 3
    assert hub.requests == []
    assert "lab/small-instruct, lab/quiz" not in ran.output
    said = project.langmerge("plan", "config/config.yaml")
    assert "tomorrow they may be others: lab/small-instruct, lab/quiz. After `langmerge prefetch`" in said


def test_a_run_fetches_what_was_not_prefetched_and_then_leaves_the_cache_alone(project, work, hub):
    ran = project.run(KEPT)
    assert ran.jobs == {"fetch": 2, "keep": 1}
    assert (work.instruct / "model.safetensors").is_file()
    assert "Nothing to be done" in project.run("--dry-run", KEPT).output

    # A cache that is fetched again repeats no merge.
    shutil.rmtree(work.cache)
    time.sleep(1.1)  # the resolution of some file systems' times
    ran = project.run("prefetch")
    assert ran.jobs == {"prefetch": 1}
    assert "3 of 3 repositories" in ran.output
    assert (work.folder / "results/real/manifest.json").is_file()

    # Neither newer files nor other parameters make Snakemake fetch or merge again.
    for path in [work.instruct, *work.instruct.rglob("*")]:
        os.utime(path, (time.time() + 1000, time.time() + 1000))
    project.configure(live_merges=1)
    hub.requests.clear()
    assert "Nothing to be done" in project.run("--dry-run", KEPT).output

    # Nothing deletes what was fetched.
    project.run("--delete-all-output")
    assert not (work.folder / KEPT).exists()
    assert (work.instruct / "model.safetensors").is_file()
    assert hub.requests == []


def test_a_failed_fetch_keeps_what_was_downloaded(project, work, hub):
    broken = hub.repositories["models/lab/small-instruct"]
    broken.corrupt.add("config.json")
    ran = project.run(KEPT, "--keep-going", expect=1)
    assert ran.jobs["fetch"] == 2
    log = work.folder / "results/real/logs/fetch/models/lab--small-instruct@main.log"
    assert "config.json had a wrong checksum" in log.read_text()
    assert "config.json had a wrong checksum" in project.run("prefetch", expect=1).output
    broken.corrupt.clear()
    hub.requests.clear()
    assert project.run(str(work.instruct.relative_to(work.folder))).jobs == {"fetch": 1}
    assert [request.path.rpartition("/")[2] for request in hub.requests if request.sent] == ["config.json"]
