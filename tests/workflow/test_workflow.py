"""What must always hold (DESIGN): each test really runs Snakemake on a tiny run and looks at what it did.

The finished run is made once and copied for every test, its temporary checkpoints gone.
"""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import pandas as pd
import pytest

from support.project import TINY_RUN, Project, kill

pytestmark = pytest.mark.workflow


@pytest.fixture
def project(finished, tmp_path) -> Project:
    return finished.copy(tmp_path / "project")


def times(paths: list[Path]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in paths}


# ---- what a finished run is


def test_a_finished_run_has_nothing_to_do(project):
    assert "Nothing to be done" in project.run("--dry-run").output


def test_merged_checkpoints_are_gone_and_references_stay(project):
    assert not project.results("models/tiny/linear/**/*.safetensors")
    assert len(project.results("models/tiny/*/*/*/model.safetensors")) == 3


def test_scores_are_tidy_and_complete(project):
    scores = pd.read_csv(project.folder / "results/tiny/scores.csv")
    cell = ["backbone", "method", "target", "weight"]
    assert list(scores) == [*cell, "language", "measure", "task", "seed", "part", "value", "stderr", "n"]
    whole = scores[scores.part == "all"]
    assert len(whole) == (3 * 2 + 2) * 3  # a grammar score and two seeds of IFEval, for each model and language
    assert whole.value.between(0, 100).all()
    assert (whole.n > 0).all()
    assert not scores.duplicated([*cell, "task", "seed", "part"]).any()
    halves = scores[scores.part != "all"]
    assert set(halves.part) == {"dev", "test"}
    together = halves.groupby([*cell, "task", "seed"], dropna=False).n.sum()
    assert (together == whole.groupby([*cell, "task", "seed"], dropna=False).n.sum()).all()


def test_a_result_says_where_it_comes_from(project):
    (path,) = project.results("scores/tiny/linear/eu/w0.5/eu.*.json")
    result = json.loads(path.read_text())
    assert result["cell"] == {"backbone": "tiny", "method": "linear", "target": "eu", "weight": 0.5}
    assert result["model"]["recipe"]["merge_method"] == "linear"
    assert all(source["sha256"] for source in result["model"]["sources"])
    assert result["versions"]["lm_eval"]
    assert str(project.folder) not in path.read_text()


def test_report(project):
    project.run("--report", "results/tiny/report.zip")
    assert (project.folder / "results/tiny/report.zip").stat().st_size > 10_000


# ---- invariant 1: only new cells run


def test_a_new_language(project):
    """Its data, its adapted model, its merges, and every reference in it; no merge of another language."""
    (project.folder / "config/languages/cy.yaml").write_text("{name: Welsh, locale: cy, mt_sources: [en]}\n")
    before = times(project.results("scores/**/*.json"))
    project.configure(languages=["eu", "cy"])
    ran = project.run()
    assert ran.jobs == {
        "corpus": 1,
        "train": 1,
        "merge": 2,
        "evaluate": 3 + 2 + 3,  # the old references in cy, the new cells in cy, the new adapted model in eu, cy and en
        "collect": 1,
        "tabulate": 2,
        "plot": 1,
        "anatomy": 1,
        "all": 1,
    }
    assert times(list(before)) == before
    assert {*pd.read_csv(project.folder / "results/tiny/scores.csv").language} == {"eu", "cy", "en"}
    assert "Nothing to be done" in project.run("--dry-run").output


def test_a_new_weight(project):
    project.configure(weights=[0.5, 0.75, 1])
    assert project.run().jobs == {
        "merge": 1,
        "evaluate": 1,
        "collect": 1,
        "tabulate": 2,
        "plot": 1,
        "anatomy": 1,
        "all": 1,
    }


def test_a_new_method(project):
    project.configure(experiments={"sweep": {"methods": ["linear", "task_arithmetic"], "evaluate": "target"}})
    assert project.run().jobs == {
        "merge": 2,
        "evaluate": 2,
        "collect": 1,
        "tabulate": 2,
        "plot": 1,
        "anatomy": 1,
        "all": 1,
    }


def test_a_new_benchmark(project):
    """Every model is evaluated on it, for which merges are made again; but no finished task runs again."""
    parts = times(project.results("scores/**/tasks/*.json"))
    project.configure(
        tasks=[*project.config["tasks"], {"task": "mini_calendar_{language}", "measure": "benchmark", "metric": "acc"}]
    )
    ran = project.run()
    assert ran.jobs == {"merge": 2, "evaluate": 8, "collect": 1, "tabulate": 2, "plot": 1, "anatomy": 1, "all": 1}
    assert times(list(parts)) == parts
    new = {*project.results("scores/**/tasks/*.json")} - {*parts}
    assert len(new) == 8
    assert all(path.name.startswith("mini_calendar") for path in new)


def test_an_option_of_a_figure(project):
    project.configure(figures={"figure1": {"methods": ["linear"], "options": {"width": 5}}})
    assert project.run().jobs == {"plot": 1, "all": 1}


def test_touched_files_and_lost_records(project):
    """A git checkout touches scripts; a user may delete .snakemake."""
    for path in (project.folder / "scripts").rglob("*.py"):
        path.touch()
    assert "Nothing to be done" in project.run("--dry-run").output


def test_a_deleted_result_is_made_again_alone(project):
    (path,) = project.results("scores/tiny/linear/eu/w1/eu.*.json")
    path.unlink()
    assert project.run().jobs == {
        "merge": 1,
        "evaluate": 1,
        "collect": 1,
        "tabulate": 2,
        "plot": 1,
        "anatomy": 1,
        "all": 1,
    }


# ---- invariant 2: disk is bounded


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_live_merges_than_allowed(project, limit):
    """Ten merges; the most that were seen on disk at once, looking a hundred times a second."""
    project.configure(weights=[0.5, 1, *(0.1 * step for step in range(11, 21))], live_merges=limit)
    process = project.start("--until", "evaluate")
    peak, seen = 0, set()
    while process.poll() is None:
        # One that is being written stands beside its place, as .w0.5.partial-<pid>.
        live = {
            path.parent.name.lstrip(".").split(".partial")[0]
            for path in project.results("models/tiny/linear/*/*/model.safetensors")
        }
        seen |= live
        peak = max(peak, len(live))
        time.sleep(0.01)
    assert process.returncode == 0, (project.folder / "snakemake.log").read_text() + project.logs()
    assert len(seen) == 10
    assert 1 <= peak <= limit


# ---- invariant 3: nothing done is lost


def test_a_killed_evaluation_resumes_at_the_next_task(project):
    (result,) = project.results("scores/tiny/linear/eu/w1/eu.*.json")
    result.unlink()
    finished_parts = project.results("scores/tiny/linear/eu/w1/tasks/*.json")
    assert len(finished_parts) == 3
    for path in finished_parts:
        path.unlink()

    process = project.start()
    while not project.results("scores/tiny/linear/eu/w1/tasks/*.json"):
        assert process.poll() is None, (project.folder / "snakemake.log").read_text()
        time.sleep(0.002)
    kill(process)
    survivors = times(project.results("scores/tiny/linear/eu/w1/tasks/*.json"))
    assert 0 < len(survivors) < 3
    assert not result.exists()

    project.run("--unlock")
    ran = project.run("--rerun-incomplete")
    assert ran.jobs["evaluate"] == 1
    assert times(list(survivors)) == survivors
    assert project.results("scores/tiny/linear/eu/w1/tasks/*.json") == finished_parts
    assert "Nothing to be done" in project.run("--dry-run").output


# ---- invariant 4: same inputs, same bytes


def test_the_same_run_twice_gives_the_same_bytes(finished, tmp_path):
    again = Project.new(tmp_path / "again", copy.deepcopy(TINY_RUN))
    again.run()
    for pattern in ("models/tiny/*/*/*/model.safetensors", "scores.csv", "tables/*", "figures/*"):
        first, second = finished.results(pattern), again.results(pattern)
        assert first
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second], pattern


# ---- invariant 7: bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"languages": ["eu", "xx"]}, "unknown language 'xx'"),
        ({"weights": [0.5, -1]}, "negative"),
        ({"weights": [0.5, 0.5]}, "twice"),
        ({"langauges": ["eu"]}, "'langauges' was unexpected"),
    ],
)
def test_a_mistake_in_the_configuration_stops_before_any_job(project, change, message):
    project.configure(**change)
    ran = project.run("--dry-run", expect=1)
    assert message in ran.output
    assert "Traceback" not in ran.output
    assert not ran.jobs


def test_a_configuration_that_is_not_yaml(project):
    (project.folder / "config/config.yaml").write_text("run: [mini")
    ran = project.run("--dry-run", expect=1)
    assert (
        "Config file is not valid JSON or YAML" in ran.output
    )  # Snakemake's own message, which does not name the file
    assert not ran.jobs


def test_results_folder_that_cannot_be_written(project):
    """A file stands where the run's folder should be (as root, no permission would stop us)."""
    (project.folder / "taken").write_text("")
    project.configure(results="taken")
    ran = project.run(expect=1)
    assert "taken" in ran.output


def test_languages_on_the_command_line(project):
    ran = project.run("--dry-run", "--config", "languages=eu,gl")
    assert "models/tiny/adapted/gl/w1" in ran.output
    assert "models/tiny/linear/gl/w0.5" in ran.output
