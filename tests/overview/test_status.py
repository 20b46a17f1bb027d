"""Watching a run: what `status` counts on a run that really was, is or was killed, and what `preview` draws of it."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from langmerge.grid.grid import Grid
from langmerge.overview.durations import hours
from langmerge.overview.progress import NO_WORD, SILENCE, last_error
from support.project import TINY_RUN, Project, kill

pytestmark = pytest.mark.workflow

BASE_IN_BASQUE = "scores/tiny/base/none/w0/eu.{}.json"


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Project:
    """A run of which the base model has been made, and evaluated in Basque."""
    project = Project.new(tmp_path_factory.mktemp("begun") / "project", copy.deepcopy(TINY_RUN))
    (result,) = [name for name in grid(project).results if "base" in name and "/eu." in name]
    assert project.run(result).jobs["evaluate"] == 1
    return project


@pytest.fixture
def project(begun, tmp_path) -> Project:
    return begun.copy(tmp_path / "project")


def grid(project: Project) -> Grid:
    return Grid(project.config, project.folder / "config")


def status(project: Project) -> str:
    """What `python scripts/status.py config/config.yaml` prints."""
    command = [sys.executable, "scripts/status.py", "config/config.yaml"]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(text: str) -> dict[tuple[str, str], list[int]]:
    """(method, stage) -> [done, running, waiting, failed] of a printed table."""
    found = re.findall(
        r"^(?:tiny +(\w+))? +(corpus|tokenizer|train|merge|evaluate) +((?:[\d.]+ +){3}[\d.]+)", text, re.MULTILINE
    )
    return {
        (method, stage): [0 if number == "." else int(number) for number in numbers.split()]
        for method, stage, numbers in found
    }


def tasks(text: str, method: str) -> str:
    return re.search(rf"^tiny +{method} +evaluate .* (\d+/\d+)$", text, re.MULTILINE)[1]


def wait(condition, process: subprocess.Popen, project: Project):
    while not (found := condition()):
        assert process.poll() is None, (project.folder / "snakemake.log").read_text() + project.logs()
        time.sleep(0.01)
    return found


def running(text: str) -> str:
    """The text, if it says that jobs run."""
    return text if any(states[1] for states in rows(text).values()) else ""


# ---- what is on disk


def test_a_run_that_has_not_begun(tmp_path):
    text = status(Project.new(tmp_path / "project", copy.deepcopy(TINY_RUN)))
    assert rows(text) == {
        ("", "corpus"): [0, 0, 2, 0],
        ("", "tokenizer"): [0, 0, 1, 0],
        ("base", "train"): [0, 0, 1, 0],
        ("base", "evaluate"): [0, 0, 2, 0],
        ("instruct", "train"): [0, 0, 1, 0],
        ("instruct", "evaluate"): [0, 0, 2, 0],
        ("adapted", "train"): [0, 0, 1, 0],
        ("adapted", "evaluate"): [0, 0, 2, 0],
        ("linear", "merge"): [0, 0, 2, 0],
        ("linear", "evaluate"): [0, 0, 2, 0],
    }
    assert "0 of 8 results (0/24 tasks)" in text
    assert "not counted" in text.lower()


def test_a_run_that_has_begun(project):
    text = status(project)
    assert rows(text) == {
        ("", "corpus"): [2, 0, 0, 0],
        ("", "tokenizer"): [1, 0, 0, 0],
        ("base", "train"): [1, 0, 0, 0],
        ("base", "evaluate"): [1, 0, 1, 0],
        ("instruct", "train"): [0, 0, 1, 0],
        ("instruct", "evaluate"): [0, 0, 2, 0],
        ("adapted", "train"): [0, 0, 1, 0],
        ("adapted", "evaluate"): [0, 0, 2, 0],
        ("linear", "merge"): [0, 0, 2, 0],
        ("linear", "evaluate"): [0, 0, 2, 0],
    }
    assert "1 of 8 results (3/24 tasks); jobs: 5 done, 0 running, 11 waiting, 0 failed." in text
    assert [tasks(text, method) for method in ("base", "instruct", "linear")] == ["3/6", "0/6", "0/6"]


def test_what_only_finished_results_needed_counts_as_done(project):
    """The base model is lost, but nothing that is left asks for it once the run is only the base model in Basque."""
    project.configure(
        evaluation_languages=[], weights=[], experiments={"none": {"methods": ["linear"], "weights": {"each": []}}}
    )
    backbone = yaml.safe_load((project.folder / "config/backbones/tiny.yaml").read_text())
    backbone["models"] = {"base": backbone["models"]["base"]}
    (project.folder / "config/backbones/tiny.yaml").write_text(yaml.safe_dump(backbone))
    (folder,) = project.results("models/tiny/base/none/w0")
    folder.rename(project.folder / "lost")
    text = status(project)
    assert rows(text)["base", "train"] == [1, 0, 0, 0]
    assert "1 of 1 results" in text
    assert "Left" not in text


def test_finished_tasks_of_an_unfinished_evaluation_count_unless_they_are_old(project):
    (result,) = project.results(BASE_IN_BASQUE.format("*"))
    result.unlink()
    assert tasks(status(project), "base") == "3/6"
    next(iter(project.results("scores/tiny/base/none/w0/tasks/*seed21*"))).unlink()
    assert tasks(status(project), "base") == "2/6"
    project.configure(tasks=[{**project.config["tasks"][0], "fewshot": 1}, project.config["tasks"][1]])
    assert tasks(status(project), "base") == "1/6"  # what the grammar was without examples is of no use now


def test_a_failed_job_is_named_with_its_last_words(project):
    project.configure(tasks=[{**project.config["tasks"][0], "metric": "acuracy"}])
    (name,) = [name for name in grid(project).results if "base" in name and "/en." in name]
    project.run(name, expect=1)
    text = status(project)
    assert rows(text)["base", "evaluate"] == [0, 0, 1, 1]
    (log,) = project.results("logs/evaluate/tiny/base-none-w0-en-*.log")
    assert f"{log.relative_to(project.folder)}: 1 of 1 tasks failed" in text
    assert "acuracy" in text


# ---- while a run goes on


def test_status_and_preview_while_another_snakemake_holds_the_lock(project):
    process = project.start("--keep-going")
    try:
        text = wait(lambda: running(project.run("status", "--nolock").output), process, project)
        assert "cannot be locked" in project.run(expect=1).output  # the lock is held
        counted = rows(text)
        assert {key: sum(states) for key, states in counted.items()} == {
            key: sum(states) for key, states in rows(status(project)).items()
        }
        assert sum(states[1] for states in counted.values()) in (1, 2)  # two cores
        assert sum(states[3] for states in counted.values()) == 0
        assert re.search(r"about [\d.]+ h on the clock at [12] at a time", text)
        preview = project.run("preview", "--nolock")
        assert preview.jobs["preview_collect"] == 1
        assert not project.results("scores.csv")
        assert process.wait(timeout=600) == 0, (project.folder / "snakemake.log").read_text() + project.logs()
    finally:
        if process.poll() is None:
            kill(process)
    text = status(project)
    assert "8 of 8 results (24/24 tasks); jobs: 16 done, 0 running, 0 waiting, 0 failed." in text
    assert {state for states in rows(text).values() for state in states[1:]} == {0}
    assert "Nothing to be done" in project.run("--dry-run").output  # neither look disturbed the run


def test_a_killed_job_is_running_until_it_has_been_silent_for_long(project):
    (name,) = [name for name in grid(project).results if "base" in name and "/en." in name]
    process = project.start(name)
    (log,) = wait(lambda: project.results("logs/evaluate/tiny/base-none-w0-en-*.log"), process, project)
    kill(process)
    assert rows(status(project))["base", "evaluate"] == [1, 1, 0, 0]
    long_ago = time.time() - SILENCE - 1
    os.utime(log, (long_ago, long_ago))
    text = status(project)
    assert rows(text)["base", "evaluate"] == [1, 0, 0, 1]
    assert NO_WORD in text


def test_a_silent_job_touches_its_log(tmp_path):
    log = tmp_path / "job.log"
    code = "import common, time; common.HEARTBEAT = 0.1; common.run_command(lambda: time.sleep(60))"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stderr=file,
            env={**os.environ, "PYTHONPATH": str(Path(common.__file__).parents[1])},
        )
    try:
        first = log.stat().st_mtime_ns
        deadline = time.monotonic() + 30
        while log.stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.terminate()
    assert process.wait() == 143
    assert "stopped by SIGTERM" in last_error(log)


# ---- preview


def test_preview_shows_missing_cells_and_touches_nothing_of_the_run(project):
    (name,) = [name for name in grid(project).results if "linear" in name and "/w1/" in name]
    project.run(name)
    project.run("preview", "--nolock")
    assert {path.name for path in project.results("*")}.isdisjoint({"scores.csv", "tables", "figures"})
    scores = pd.read_csv(project.folder / "results/tiny/preview/scores.csv")
    scores = scores[scores.part == "all"]
    assert sorted(zip(scores.method, scores.language, strict=True)) == [("base", "eu")] * 3 + [("linear", "eu")] * 3
    (table,) = project.results("preview/tables/table3.md")
    assert "—" in table.read_text()
    assert {path.suffix for path in project.results("preview/figures/figure1.*")} == {".pdf", ".png", ".svg"}
    assert "Nothing to be done" in project.run("preview", "--nolock").output
    (name,) = [name for name in grid(project).results if "base" in name and "/en." in name]
    project.run(name)
    assert project.run("preview", "--nolock").jobs["preview_collect"] == 1


def test_preview_of_nothing(tmp_path):
    project = Project.new(tmp_path / "project", copy.deepcopy(TINY_RUN))
    assert "no evaluation is finished yet" in project.run("preview", "--nolock", expect=1).output
    assert not project.results("preview")


# ---- durations


def test_durations_are_measured_else_configured_else_unknown(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    (file,) = project.results("benchmarks/train/tiny/*.tsv")
    value, measured = hours(grid(project), "train", "tiny")
    assert measured
    assert value == pytest.approx(pd.read_csv(file, sep="\t").s[0] / 3600)
    assert hours(grid(project), "merge", "tiny") == (None, False)
    backbone = project.folder / "config/backbones/tiny.yaml"
    backbone.write_text(
        yaml.safe_dump({**yaml.safe_load(backbone.read_text()), "hours": {"merge": 2, "train": 9, "evaluate": 0.5}})
    )
    assert hours(grid(project), "merge", "tiny") == (2, False)
    assert hours(grid(project), "train", "tiny") == (value, True)
    left = (
        2 * 2 + 2 * value + 7 * hours(grid(project), "evaluate", "tiny")[0]
    )  # two merges, two trainings, seven evaluations
    assert f"Left: {left:.1f} h of jobs, 0.0 GPU-hours; nothing runs now" in status(project)


def test_gpu_hours(project):
    backbone = project.folder / "config/backbones/tiny.yaml"
    content = yaml.safe_load(backbone.read_text())
    backbone.write_text(
        yaml.safe_dump({**content, "hours": {"merge": 3}, "resources": {"merge": {"gpu": 0}, "evaluate": {"gpu": 4}}})
    )
    (evaluated,) = project.results("benchmarks/evaluate/tiny/*.tsv")
    # On a cluster a merge is part of the job of its evaluations, so it holds their four GPUs.
    gpus = 4 * (2 * 3 + 7 * pd.read_csv(evaluated, sep="\t").s[0] / 3600)
    assert re.search(rf"Left: [\d.]+ h of jobs, {gpus:.1f} GPU-hours", status(project))
