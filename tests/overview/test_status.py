"""Watching a run: what `status` counts on a run that really was, is or was killed, and what
`preview` draws of it.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from langmerge.commands.status import page
from langmerge.grid.grid import Grid
from langmerge.live.batch import BatchFile
from langmerge.overview.durations import Durations
from langmerge.overview.progress import STARTING, Snapshot, last_error
from support.project import TINY_RUN, Project, kill

pytestmark = pytest.mark.workflow

BASE_IN_BASQUE = "scores/tiny/base/none/w0/eu.*.json"


@pytest.fixture
def project(finished, tmp_path, monkeypatch) -> Project:
    """A run of which the base model has been made, and evaluated in Basque: what a finished run has
    beyond that is removed.

    The test runs in its folder.
    """
    project = finished.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    kept = {*project.results(BASE_IN_BASQUE)}
    for path in project.results("scores/**/*.json"):
        if path not in kept and not (path.parent.name == "tasks" and "/base/" in str(path) and "_eu." in path.name):
            path.unlink()
    batch = batch_of_base(project)
    for name in ("logs/*", "benchmarks/*", "batches"):
        for path in project.results(f"{name}/tiny/*"):
            if path.stem not in ("base-none-w0", batch):
                path.unlink()
    for name in ("scores.csv", "tables", "figures", "anatomy", "models/tiny/instruct", "models/tiny/adapted"):
        path = project.folder / "results/tiny" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return project


def batch_of_base(project: Project) -> str:
    """The name of the last evaluation job of the base model."""
    files = sorted(project.results("batches/tiny/*.json"), key=lambda path: path.stat().st_mtime)
    (*_, found) = [path for path in files if BatchFile.read(path).models[0].id == "tiny/base/none/w0"]
    return found.stem


def grid(project: Project) -> Grid:
    return Grid(copy.deepcopy(project.config))


def status(project: Project) -> str:
    """What `langmerge status config/config.yaml` prints in the project's folder."""
    return page(Snapshot(grid(project)))


def rows(text: str) -> dict[tuple[str, str], list[int]]:
    """(method, stage) -> [done, running, waiting, failed] of a printed table."""
    pattern = r"^(?:tiny +(\w+))? +(corpus|tokenizer|train|merge|evaluate) +((?:[\d.]+ +){3}[\d.]+)"
    found = re.findall(pattern, text, re.MULTILINE)
    return {
        (method, stage): [0 if number == "." else int(number) for number in numbers.split()]
        for method, stage, numbers in found
    }


def tasks(text: str, method: str) -> str:
    return re.search(rf"^tiny +{method} +evaluate .* (\d+/\d+)$", text, re.MULTILINE)[1]


def wait(condition, process: subprocess.Popen, project: Project):
    while not (found := condition()):
        assert process.poll() is None, (project.folder / "snakemake.log").read_text() + project.logs()
        time.sleep(0.1)
    return found


# ---- what is on disk


def test_a_run_that_has_not_begun(tmp_path, monkeypatch):
    project = Project.new(tmp_path / "project", copy.deepcopy(TINY_RUN))
    monkeypatch.chdir(project.folder)
    text = project.langmerge("status", "config/config.yaml")
    assert rows(text) == {
        ("", "corpus"): [0, 0, 2, 0],
        ("", "tokenizer"): [0, 0, 1, 0],
        ("base", "train"): [0, 0, 1, 0],
        ("base", "evaluate"): [0, 0, 2, 0],
        ("instruct", "train"): [0, 0, 1, 0],
        ("instruct", "evaluate"): [0, 0, 2, 0],
        ("adapted", "train"): [0, 0, 1, 0],
        ("adapted", "evaluate"): [0, 0, 2, 0],
        ("linear", "evaluate"): [0, 0, 2, 0],
    }
    assert "0 of 8 results (0/24 tasks)" in text
    assert "Not included" in text


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
        ("linear", "evaluate"): [0, 0, 2, 0],
    }
    assert "1 of 8 results (3/24 tasks); jobs: 5 done, 0 running, 9 waiting, 0 failed." in text
    assert [tasks(text, method) for method in ("base", "instruct", "linear")] == ["3/6", "0/6", "0/6"]


def test_a_running_training_says_its_step_and_speed(project):
    log = project.folder / "results/tiny/logs/train/tiny/instruct-none-w0.log"
    log.write_text("")
    os.utime(log, (time.time() + 600,) * 2)  # it is touched while the test runs
    folder = project.folder / "results/tiny/models/tiny/instruct/none/.w0.training-0123456789ab"
    folder.mkdir(parents=True)
    assert "Trainings" not in status(project)
    step = {"step": 3, "loss": 2.5, "rate": 0.1, "norm": 1.0, "tokens_per_second": 0.64, "memory": 1.0, "leg": 2}
    lines = [json.dumps(step), json.dumps({"step": 3, "bits_per_byte": {"eu": 1.0}}), json.dumps(step)[:20]]
    (folder / "history.jsonl").write_text("\n".join(lines))
    # One step of 4 is left: 4 sequences of 64 tokens at 0.64 tokens per second are 400 s.
    assert "tiny/instruct/none/w0: step 3 of 4, loss 2.500, 1 tokens/s, 0.1 h left, leg 2" in status(project)


def test_what_only_finished_results_needed_counts_as_done(project):
    """The base model is lost, but nothing that is left asks for it once the run is only the base
    model in Basque.
    """
    project.configure(
        evaluation_languages=[], weights=[], experiments={"none": {"methods": ["linear"], "weights": {"each": []}}}
    )
    backbone = yaml.safe_load((project.folder / "config/backbones/tiny.yaml").read_text())
    project.write("backbones/tiny.yaml", {**backbone, "models": {"base": backbone["models"]["base"]}})
    (folder,) = project.results("models/tiny/base/none/w0")
    folder.rename(project.folder / "lost")
    text = status(project)
    assert rows(text)["base", "train"] == [1, 0, 0, 0]
    assert "1 of 1 results" in text
    assert "Left" not in text


def test_finished_tasks_of_an_unfinished_evaluation_count_unless_they_are_old(project):
    (result,) = project.results(BASE_IN_BASQUE)
    result.unlink()
    assert tasks(status(project), "base") == "3/6"
    (seed,) = project.results("scores/tiny/base/none/w0/tasks/*_eu.seed21*")
    seed.unlink()
    assert tasks(status(project), "base") == "2/6"
    project.configure(tasks=[{**project.config["tasks"][0], "fewshot": 1}, project.config["tasks"][1]])
    assert tasks(status(project), "base") == "1/6"  # what the grammar was without examples is of no use now


def test_a_failed_job_is_named_with_its_last_message(project):
    project.configure(tasks=[{**project.config["tasks"][0], "fewshot": 100}])
    project.run(project.mark("tiny/base/none/w0"), expect=1)
    text = status(project)
    assert rows(text)["base", "evaluate"] == [0, 0, 0, 2]  # one job makes both
    (log,) = project.results(f"logs/evaluate/tiny/{batch_of_base(project)}.log")
    assert f"{log.relative_to(project.folder)}: 1 of 1 models failed: tiny/base/none/w0: 1 of 1 tasks failed" in text
    assert "100 examples are asked for" in text
    assert last_error(log)


# ---- while a run goes on


def test_status_and_preview_while_another_snakemake_holds_the_lock(project):
    process = project.with_stubs(seconds=4).start("--keep-going")
    try:
        wait(lambda: any(states[1] for states in rows(status(project)).values()), process, project)
        text = project.run("status", "--nolock").output
        # Without the option, Snakemake may refuse outputs that the first is just making, before it
        # looks at the lock.
        assert "cannot be locked" in project.run("--rerun-incomplete", expect=1).output
        counted = rows(text)
        assert {key: sum(states) for key, states in counted.items()} == {
            key: sum(states) for key, states in rows(status(project)).items()
        }
        assert sum(states[1] for states in counted.values()) in (1, 2)  # two cores
        assert sum(states[3] for states in counted.values()) == 0
        assert re.search(r"about [\d.]+ h with [12] running at a time", text)
        preview = project.run("preview", "--nolock")
        assert preview.jobs["preview"] == 1
        assert not project.results("scores.csv")
        assert process.wait(timeout=600) == 0, (project.folder / "snakemake.log").read_text() + project.logs()
    finally:
        if process.poll() is None:
            kill(process)
    text = status(project)
    assert "8 of 8 results (24/24 tasks); jobs: 14 done, 0 running, 0 waiting, 0 failed." in text
    assert {state for states in rows(text).values() for state in states[1:]} == {0}
    assert project.run("--dry-run").nothing_to_do  # neither look disturbed the run


def test_a_killed_job_has_failed_within_seconds(project):
    target = Path(project.mark("tiny/base/none/w0"))
    process = project.start(str(target))
    (log,) = wait(lambda: project.results(f"logs/evaluate/tiny/{target.stem}.log"), process, project)
    kill(process)
    limit = time.monotonic() + 2 * STARTING
    while rows(status(project))["base", "evaluate"] != [1, 0, 0, 1]:
        assert time.monotonic() < limit, status(project)
        time.sleep(0.5)
    assert str(log.relative_to(project.folder)) in status(project)


# ---- preview


def test_preview_shows_missing_cells_and_touches_nothing_of_the_run(project):
    stubbed = project.with_stubs()
    stubbed.run(project.mark("tiny/linear/eu/w1"))
    assert "Written: results/tiny/preview/scores.csv" in project.run("preview", "--nolock").output
    assert {path.name for path in project.results("*")}.isdisjoint({"scores.csv", "tables", "figures"})
    scores = pd.read_csv(project.folder / "results/tiny/preview/scores.csv")
    # Without what is derived from answers.
    scores = scores[(scores.part == "all") & scores.measure.isin(["benchmark", "ifeval"])]
    assert sorted(zip(scores.method, scores.language, strict=True)) == [("base", "eu")] * 3 + [("linear", "eu")] * 3
    (table,) = project.results("preview/tables/table3.md")
    assert "—" in table.read_text()
    assert {path.suffix for path in project.results("preview/figures/figure1.*")} == {".pdf", ".png", ".svg"}
    assert project.run("preview", "--nolock").nothing_to_do
    stubbed.run(project.mark("tiny/base/none/w0"))
    assert project.run("preview", "--nolock").jobs["preview"] == 1


def test_preview_of_nothing(tmp_path):
    project = Project.new(tmp_path / "project", copy.deepcopy(TINY_RUN))
    assert "no evaluation is finished yet" in project.run("preview", "--nolock", expect=1).output
    assert not project.results("preview")


# ---- durations


def duration(project: Project, rule: str) -> tuple[float | None, str]:
    """How long the last job of a rule and of the backbone tiny takes."""
    run = grid(project)
    *_, job = [job for job in run.jobs if (job.rule, job.backbone) == (rule, "tiny")]
    return Durations(run).of(job)


def evaluated_in(project: Project) -> float:
    """Hours of one of the two results of the one job that was measured."""
    (file,) = project.results("benchmarks/evaluate/tiny/*.tsv")
    return pd.read_csv(file, sep="\t").s[0] / 2 / 3600


def test_durations_are_measured_else_configured_else_unknown(project):
    project.configure(merges="disk")
    (file,) = project.results("benchmarks/train/tiny/*.tsv")
    value, source = duration(project, "train")
    assert source == "measured"
    assert value == pytest.approx(pd.read_csv(file, sep="\t").s[0] / 3600)
    assert duration(project, "merge") == (None, "unknown")
    backbone = yaml.safe_load((project.folder / "config/backbones/tiny.yaml").read_text())
    project.write("backbones/tiny.yaml", {**backbone, "hours": {"merge": 2, "train": 9}})
    assert duration(project, "merge") == (2, "configured")
    assert duration(project, "train") == (value, "measured")
    # One job of two results was measured; the other seven are like them.
    measured, source = duration(project, "evaluate")
    assert source == "measured"
    assert measured == pytest.approx(evaluated_in(project))
    left = 2 * 2 + 2 * value + 7 * measured  # two merges, two trainings, seven results
    assert f"Left: {left:.1f} h of jobs, 0.0 GPU-hours; nothing runs now" in status(project)


def test_gpu_hours(project):
    backbone = yaml.safe_load((project.folder / "config/backbones/tiny.yaml").read_text())
    resources = {"merge": {"gpu": 0}, "evaluate": {"gpu": 4}}
    project.write("backbones/tiny.yaml", {**backbone, "hours": {"merge": 3}, "resources": resources})
    project.configure(merges="disk")
    # A merge asks for what its evaluation asks for, so it holds four GPUs.
    gpus = 4 * (2 * 3 + 7 * evaluated_in(project))
    assert re.search(rf"Left: [\d.]+ h of jobs, {gpus:.1f} GPU-hours", status(project))


def test_the_end_of_a_log(tmp_path: Path):
    log = tmp_path / "job.log"
    log.write_text("warning: x\nTraceback ...\n 50%|##   | 1/2 [00:01]error: 2 tasks failed:\n  a: no\n  b: no\n")
    assert last_error(log) == "2 tasks failed: a: no b: no"
    log.write_text("error: not the last line\nall is well\n")
    assert last_error(log) == ""
