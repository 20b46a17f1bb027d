"""`langmerge plan`: it finds the jobs that Snakemake finds; its hours and gigabytes are those of the configuration or of what has run."""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import re
from pathlib import Path

import pytest
import yaml

from langmerge.commands import plan as command
from langmerge.errors import UserError
from langmerge.grid.grid import Grid
from langmerge.overview.plan import Plan
from support.paths import ROOT
from support.project import Project

RUN = {
    "run": "real",
    "languages": ["eu", "gl"],
    "evaluation_languages": ["en"],
    "backbones": ["large", "tiny"],
    "weights": [0.5, 1],
    "live_merges": 3,
    "methods": {"linear": {"merge_method": "linear"}, "arithmetic": {"merge_method": "task_arithmetic"}},
    "experiments": {
        "sweep": {"methods": ["linear"]},
        "more": {
            "methods": ["arithmetic"],
            "backbones": ["large"],
            "weights": {"each": [1], "multi": [0.25]},
            "evaluate": "target",
        },
    },
    "tasks": [
        {"task": "mini_grammar_{language}", "measure": "benchmark", "metric": "acc"},
        {"task": "{benchmark}", "measure": "benchmark", "metric": "acc"},
    ],
    "world": {"lines": 400, "documents": 8, "translations": 4, "prompts": 4},
    "tables": {"table3": {"layout": "merges", "methods": ["linear"], "weights": {"each": 1}}},
    "figures": {"figure1": {"methods": ["linear"]}},
}

LARGE = {
    "dtype": "bfloat16",
    "models": {
        "base": {"hub": "lab/large", "gb": 16},
        "instruct": {"hub": "lab/large-instruct", "revision": "0e9e39f249a1", "gb": 16},
        "adapted": {"hub": "lab/large-{language}", "gb": 16, "languages": {"eu": {}, "gl": {"gb": 17}}},
    },
    "hours": {"merge": 0.25, "evaluate": 2},
    "resources": {"evaluate": {"gpu": 2}},
}

BENCHMARKS = {"quiz_eu": {"dataset": "lab/quiz", "files": ["eu/*"], "gb": 0.5}, "quiz_gl": {"dataset": "lab/quiz-gl"}}


def fill(project: Project) -> None:
    """Write the configuration of the run on two backbones, one of a hub and one that is trained here."""
    project.write("backbones/large.yaml", LARGE)
    project.write("benchmarks.yaml", BENCHMARKS)
    for code in ("eu", "gl", "en"):
        shipped = yaml.safe_load((ROOT / "config" / "languages" / f"{code}.yaml").read_text())
        own = {f"quiz_{code}": {}} if f"quiz_{code}" in BENCHMARKS else {}
        project.write(f"languages/{code}.yaml", {**shipped, "benchmarks": own})


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    """The project, in whose folder the test runs."""
    made = Project.new(tmp_path / "project", copy.deepcopy(RUN))
    fill(made)
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture
def grid(project) -> Grid:
    return Grid(copy.deepcopy(RUN))


def planned(capsys, *options: str) -> str:
    """What `langmerge plan config/config.yaml` prints in the current folder."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args(["config/config.yaml", *options]))
    return capsys.readouterr().out


def dry_run(project: Project, *options: str) -> dict[str, int]:
    """Jobs by rule, as Snakemake counts them."""
    output = project.run("--dry-run", *options).output
    rows = re.findall(r"^(\w+) +(\d+)$", output.partition("Job stats:")[2].partition("total")[0], re.MULTILINE)
    assert rows or "Nothing to be done" in output
    return {rule: int(count) for rule, count in rows}


def make(path: Path, folder: bool) -> None:
    """Something that exists where a job's product should be; all of one age, because Snakemake looks at ages too."""
    path.mkdir(parents=True, exist_ok=True) if folder else path.parent.mkdir(parents=True, exist_ok=True)
    if not folder:
        path.write_text("{}")


# ---- jobs


def test_the_default_run_from_nothing(tmp_path, shipped_config, monkeypatch, capsys):
    project = Project.new(tmp_path / "project", {**shipped_config, "run": "fresh"})
    monkeypatch.chdir(project.folder)
    counts = json.loads(planned(capsys, "--json"))["jobs"]
    assert counts["merge"] == 58
    assert counts == dry_run(project)


@pytest.mark.workflow
def test_a_finished_run_and_what_a_new_weight_and_a_lost_result_cost(finished, tmp_path, monkeypatch, capsys):
    project = finished.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    assert "nothing is left to do" in planned(capsys)
    project.configure(weights=[0.5, 0.75, 1])
    assert json.loads(planned(capsys, "--json"))["jobs"] == dry_run(project)
    project.results("scores/tiny/linear/eu/w1/eu.*.json")[0].unlink()
    content = json.loads(planned(capsys, "--json"))
    assert content["jobs"] == dry_run(project)
    assert (content["jobs"]["merge"], content["jobs"]["evaluate"]) == (2, 2)
    times = {(time["rule"], time["backbone"]): time for time in content["times"]}
    assert times["evaluate", "tiny"]["measured"]
    assert 0 < times["evaluate", "tiny"]["hours"] < 0.1
    assert content["disk"]["merged"] == pytest.approx(
        2 * content["disk"]["there"] / 3, rel=0.1
    )  # three references are there


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_any_half_finished_run_on_two_backbones(project, grid, share, capsys):
    """Whatever part of the products exists: the same jobs as Snakemake's."""
    chance = random.Random(share)
    for path in sorted({path for job in Plan(grid).jobs for path in job.outputs}):
        if chance.random() < share:
            make(path, folder=not path.suffix or "@" in path.name or "models" in path.parts)
    for path in [project.folder / "results", *(project.folder / "results").rglob("*")] if share else []:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    counts = json.loads(planned(capsys, "--json"))["jobs"]
    assert counts == dry_run(project)
    assert share or counts["fetch"] == 6
    assert counts["evaluate"] > 0


@pytest.mark.workflow
def test_the_rule_prints_the_plan_of_the_run_that_the_command_line_names(project):
    ran = project.run("plan", "--config", "languages=eu")
    (line,) = [line for line in ran.output.splitlines() if line.startswith("merge ")]
    assert int(line.split()[1]) == 2 + 2 + 1
    assert "with 2 jobs at a time" in ran.output  # --cores
    assert not (project.folder / "results/real/models").exists()


# ---- what it takes


def test_repositories_that_are_not_in_the_cache(project, grid):
    assert [(each["hub"], each["gb"]) for each in Plan(grid).to_fetch] == [
        ("lab/large", 16),
        ("lab/large-instruct", 16),
        ("lab/large-eu", 16),
        ("lab/large-gl", 17),
        ("lab/quiz", 0.5),
        ("lab/quiz-gl", None),
    ]
    (project.folder / "results/cache/models/lab--large@main").mkdir(parents=True)
    assert "lab/large" not in [each["hub"] for each in Plan(grid).to_fetch]


def test_hours_are_the_configurations_and_then_the_measured_ones(project, grid):
    def time(rule, backbone="large"):
        return next(time for time in Plan(grid).times if (time.rule, time.backbone) == (rule, backbone))

    # Four references in three languages, four linear merges in three, two of task arithmetic in one, one in both.
    assert (time("evaluate").jobs, time("evaluate").hours, time("evaluate").gpu_hours) == (
        4 * 3 + 4 * 3 + 2 + 2,
        2,
        28 * 2 * 2,
    )
    assert (time("merge").jobs, time("merge").hours, time("merge").gpus, time("merge").gpu_hours) == (
        7,
        0.25,
        2,
        7 * 0.25 * 2,
    )
    assert (time("train", "tiny").hours, time("train", "tiny").gpu_hours) == (None, 0)
    for number, seconds in enumerate([1800, 5400]):
        path = project.folder / f"results/real/benchmarks/evaluate/large/job{number}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:30:00\t1.0\n")
    assert (time("evaluate").hours, time("evaluate").measured, time("evaluate").gpu_hours) == (1, True, 28 * 2)
    assert not time("merge").measured


def test_gigabytes(project, grid):
    disk = Plan(grid).disk
    assert disk["fetched"] == 16 * 3 + 17 + 0.5
    assert disk["merged"] == 7 * 16
    assert disk["written"] == disk["fetched"] + disk["merged"]
    assert disk["peak"] == disk["fetched"] + 3 * 16  # live_merges: 3
    assert disk["unknown"] == ["tiny"]
    # Once a model is there, its files tell.
    place = {
        "results/cache/models/lab--large-instruct@0e9e39f249a1": 5_000_000,
        "results/real/models/tiny/base/none/w0": 3_000_000,
    }
    for folder, size in place.items():
        (project.folder / folder).mkdir(parents=True)
        (project.folder / folder / "model.safetensors").write_bytes(bytes(size))
    disk = Plan(grid).disk
    assert disk["unknown"] == []
    assert disk["fetched"] == 16 * 2 + 17 + 0.5
    assert disk["trained"] == pytest.approx(4 * 0.003)  # the base too, for its corpus is made again
    assert disk["merged"] == pytest.approx(7 * 0.005 + 4 * 0.003)
    assert disk["there"] == pytest.approx(0.005)


def test_the_clock(grid):
    """One after another: all work. With many jobs at once, merges and their evaluations share three slots."""
    plan = Plan(grid)
    cells, references = 7 * 0.25 + 16 * 2, 12 * 2
    assert plan.clock(1) == pytest.approx(cells + references)
    assert plan.clock(2) == pytest.approx((cells + references) / 2)
    assert plan.clock(100) == pytest.approx(cells / 3)
    grid.config["live_merges"] = 100
    assert plan.clock(100) == pytest.approx(0.25 + 2)  # a merge, then its evaluation


def test_the_page_says_what_is_not_known(project, capsys):
    page = planned(capsys, "--jobs", "8")
    assert "with 8 jobs at a time" in page
    assert re.search(r"^models +lab/large-gl +main +17.0$", page, re.MULTILINE)
    assert re.search(r"^datasets +lab/quiz-gl +main +\?$", page, re.MULTILINE)
    assert "size is unknown: 1 repositories with a ?, models of tiny." in page
    assert re.search(r"duration is unknown: .*merge tiny", page)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        (["config/config.yaml", "--jobs", "0"], "--jobs 0: expected a number above 0"),
    ],
)
def test_mistakes(project, arguments, message):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(UserError, match=message):
        command.run(parser.parse_args(arguments))
