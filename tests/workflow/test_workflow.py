"""What must hold for every run: each test really runs Snakemake on a tiny run and looks at what it
did.

The finished run is made once, with nothing pretended, and copied for every test. Where only the
numbers of jobs matter, what runs after the copy is pretended (tests/support/stub.py).
"""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from langmerge.evaluation.sealed import read_sealed
from support.project import TINY_RUN, Project, kill

pytestmark = pytest.mark.workflow


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished run, in which slow commands are pretended from now on."""
    return finished.copy(tmp_path / "project").with_stubs()


@pytest.fixture
def real(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished run, in which nothing is pretended."""
    return finished.copy(tmp_path / "project")


def times(paths: list[Path]) -> dict[Path, int]:
    assert paths
    return {path: path.stat().st_mtime_ns for path in paths}


REPORTS = {"collect": 1, "table": 2, "figure": 1, "anatomy": 1, "report": 1, "all": 1}
"""The jobs that follow whenever a merge was made and evaluated."""


# ---- what a finished run is


def test_a_finished_run_has_nothing_to_do(finished):
    assert finished.run("--dry-run").nothing_to_do


def test_merged_checkpoints_are_gone_and_references_stay(finished):
    assert not finished.results("models/tiny/linear/**/*.safetensors")
    assert len(finished.results("models/tiny/*/*/*/model.safetensors")) == 3


def test_scores_are_tidy_and_complete(finished):
    scores = pd.read_csv(finished.folder / "results/tiny/scores.csv")
    cell = ["backbone", "method", "target", "weight"]
    key = [*cell, "measure", "task", "seed"]  # the language fidelity of an answer has the name of its task
    columns = [*cell, "language", "measure", "task", "seed", "part", "value", "stderr", "n", "fingerprint", "remarks"]
    assert list(scores) == [*columns, "tokens_per_word"]
    whole = scores[scores.part == "all"]
    # A grammar score, two seeds of IFEval and the language fidelity of each, for each model and
    # language.
    assert len(whole) == (3 * 2 + 2) * 5
    assert whole.value.between(0, 100).all()
    assert (whole.n > 0).all()
    assert not scores.duplicated([*key, "part"]).any()
    halves = scores[scores.part != "all"]
    assert set(halves.part) == {"dev", "test"}
    together = halves.groupby(key, dropna=False).n.sum()
    assert (together == whole.groupby(key, dropna=False).n.sum()).all()
    assert (scores.groupby(["measure", "task", "seed"], dropna=False).fingerprint.nunique() == 1).all()


def test_a_result_says_where_it_comes_from(finished):
    (path,) = finished.results("scores/tiny/linear/eu/w0.5/eu.*.json")
    result = read_sealed(path)
    assert result["cell"] == {"backbone": "tiny", "method": "linear", "target": "eu", "weight": 0.5}
    assert result["model"]["recipe"]["merge_method"] == "linear"
    assert result["model"]["sources"]
    assert all(source["sha256"] for source in result["model"]["sources"])
    (made_with,) = result["made_with"]
    assert {"torch", "transformers", "lm_eval"} <= {*made_with["versions"]}
    assert str(finished.folder) not in path.read_text()


def test_report(real):
    """With the jobs that are done in its graph, those that this run does not have to do among them."""
    real.run("--report", "results/tiny/report.html")
    page = (real.folder / "results/tiny/report.html").read_text()
    shown = {*re.findall(r'"rule": "(\w+)", "fx"', page)}
    assert {"corpus", "tokenizer", "train", "recipes", "evaluate", "collect", "table", "figure"} <= shown


# ---- only new cells run


def test_a_new_language(project):
    """Its data, its adapted model, its merges, and every reference in it; no merge of another
    language.
    """
    project.write("languages/cy.yaml", {"name": "Welsh", "locale": "cy", "mt_sources": ["en"]})
    before = times(project.results("scores/**/*.json"))
    project.configure(languages=["eu", "cy"])
    assert project.run().jobs == {
        "corpus": 1,
        "train": 1,
        "recipes": 2,
        # Three old references in cy; the new adapted model in eu, cy and en; two new cells, one for
        # each core.
        "evaluate": 3 + 1 + 2,
        **REPORTS,
    }
    assert times(list(before)) == before
    assert {*pd.read_csv(project.folder / "results/tiny/scores.csv").language} == {"eu", "cy", "en"}
    assert project.run("--dry-run").nothing_to_do


def test_a_new_weight(project):
    """What somebody has published of the run stays as it is."""
    published = project.folder / "results/tiny/published/tiny/linear/eu/w0.5/model.safetensors"
    published.parent.mkdir(parents=True)
    published.touch()
    before = times([published])
    project.configure(weights=[0.5, 0.75, 1])
    assert project.run().jobs == {"recipes": 1, "evaluate": 1, **REPORTS}
    assert times([published]) == before


def test_a_new_method(project):
    project.configure(experiments={"sweep": {"methods": ["linear", "task_arithmetic"], "evaluate": "target"}})
    assert project.run().jobs == {"recipes": 2, "evaluate": 2, **REPORTS}


CALENDAR = {"task": "mini_calendar_{language}", "measure": "benchmark", "metric": "acc"}


def test_a_new_benchmark(project):
    """Every model is evaluated on it: three references, and two cells, one for each core."""
    before = times(project.results("scores/**/tasks/*.json"))
    project.configure(tasks=[*project.config["tasks"], CALENDAR])
    assert project.run().jobs == {"recipes": 2, "evaluate": 3 + 2, **REPORTS}
    assert times(list(before)) == before
    new = {*project.results("scores/**/tasks/*.json")} - {*before}
    assert len(new) == 8
    assert all(path.name.startswith("mini_calendar") for path in new)


def test_a_new_benchmark_repeats_no_finished_task(real):
    """As above, with the real evaluation, for one model."""
    before = times(real.results("scores/tiny/instruct/none/w0/tasks/*.json"))
    old = real.results("scores/tiny/instruct/none/w0/eu.*.json")
    real.configure(tasks=[*real.config["tasks"], CALENDAR])
    assert real.run(real.mark("tiny/instruct/none/w0")).jobs == {"evaluate": 1}
    assert times(list(before)) == before
    new = {*real.results("scores/tiny/instruct/none/w0/tasks/*.json")} - {*before}
    assert sorted(path.name.split(".")[0] for path in new) == ["mini_calendar_en", "mini_calendar_eu"]
    (result,) = {*real.results("scores/tiny/instruct/none/w0/eu.*.json")} - {*old}
    assert len(read_sealed(result)["scores"]) == 4


def test_an_option_of_a_figure(project):
    project.configure(figures={"figure1": {"methods": ["linear"], "options": {"width": 5}}})
    assert project.run().jobs == {"figure": 1, "all": 1}


def test_votes(project):
    """They are one more measure: scores, tables and figures are made again, and nothing is
    evaluated.
    """
    cells = ["tiny/instruct/none/w0", "tiny/linear/eu/w0.5", "tiny/linear/eu/w1"]
    project.langmerge("votes", "make", "config/config.yaml", "--language", "eu", "--cells", *cells)
    (path,) = project.results("votes/*.key.json")
    key = json.loads(path.read_text())
    files = []
    for voter in ("Ane", "Jon"):
        votes = [{"item": item, "choice": "left"} for item in key["items"]]
        files.append(f"votes-{voter}.json")
        (project.folder / files[-1]).write_text(json.dumps({"page": key["page"], "voter": voter, "votes": votes}))
        project.langmerge("votes", "collect", "config/config.yaml", *files)
        assert project.run("--dry-run").jobs == REPORTS
    project.run()
    scores = pd.read_csv(project.folder / "results/tiny/scores.csv")
    assert {*scores[scores.measure == "votes"].method} == {"instruct", "linear"}
    assert project.run("--dry-run").nothing_to_do


def test_another_checkout_touched_files_and_lost_records(finished, tmp_path):
    """A git checkout touches every file; a user may move results, and delete .snakemake."""
    project = Project.in_checkout(tmp_path / "checkout", finished.config)
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.folder / name, project.folder / name, symlinks=True)
    assert project.run("--dry-run").nothing_to_do
    for name in ("config", "scripts", "workflow"):
        for path in (project.folder / name).rglob("*"):
            path.touch()
    assert project.run("--dry-run").nothing_to_do
    shutil.rmtree(project.folder / ".snakemake")
    assert project.run("--dry-run").nothing_to_do


def test_a_deleted_result_is_made_again_alone(project):
    (path,) = project.results("scores/tiny/linear/eu/w1/eu.*.json")
    path.unlink()
    assert project.run().jobs == {"recipes": 1, "evaluate": 1, **REPORTS}


def test_the_same_result_is_deleted_twice(project):
    (path,) = project.results("scores/tiny/linear/eu/w1/eu.*.json")
    for _ in range(2):
        path.unlink()
        assert project.run().jobs["evaluate"] == 1
        assert project.run("--dry-run").nothing_to_do


def test_a_lost_anatomy_is_made_again(project):
    (path,) = project.results("anatomy/tiny/linear/eu/w1.parquet")
    path.unlink()
    assert project.run().jobs == {"recipes": 1, "evaluate": 1, **REPORTS}


def test_a_result_that_no_job_of_this_run_made(project):
    """A killed controller's job was done when nobody waited for it any more: the scores are
    collected again.
    """
    (path,) = project.results("scores/tiny/linear/eu/w1/eu.*.json")
    path.touch()
    assert project.run().jobs["collect"] == 1


def test_a_smaller_grid(project):
    """What the file leaves out is gone; a table that it does not name any more is put aside."""
    tables = {name: table for name, table in TINY_RUN["tables"].items() if name != "table2"}
    project.configure(weights=[0.5], tables=tables)
    assert project.run().jobs == {**REPORTS, "table": REPORTS["table"] - 1}
    assert {*pd.read_csv(project.folder / "results/tiny/scores.csv").weight.dropna()} == {0.5}
    assert len(project.results("outdated/tables/table2.*")) == 3 and not project.results("tables/table2.*")
    assert project.run("--dry-run").nothing_to_do


def test_a_smaller_grid_of_the_command_line_leaves_the_larger_ones_tables(project):
    before = {path: path.read_bytes() for path in project.results("tables/*") + project.results("scores.csv")}
    done = project.run("--config", "weights=[0.5]")
    assert done.jobs == REPORTS and "shows a larger grid and stays" in done.output
    assert {path: path.read_bytes() for path in before} == before
    (scores,) = project.results("part/*/scores.csv")
    assert {*pd.read_csv(scores).weight.dropna()} == {0.5}
    assert (scores.parent / "tables/table3.md").is_file() and (scores.parent / "figures/figure1.pdf").is_file()
    assert project.run("--dry-run").nothing_to_do


def test_kept_checkpoints_and_the_same_answers_from_disk(finished, tmp_path):
    """`merges: disk` writes, evaluates and deletes; parts, answers and anatomies have the same
    bytes.
    """
    project = finished.copy(tmp_path / "project").with_stubs("report")
    patterns = "scores/tiny/linear/eu/*/tasks/*.json", "samples/tiny/linear/eu/*/*.gz", "anatomy/**/*.parquet"
    parts = {path: path.read_bytes() for pattern in patterns for path in project.results(pattern)}
    assert len(parts) >= 2 * (3 + 3 + 1)
    for name in ("scores/tiny/linear", "samples/tiny/linear", "anatomy"):
        (folder,) = project.results(name)
        shutil.rmtree(folder)
    project.configure(merges="disk", keep=["tiny/linear/eu/w0.5"])
    assert project.run().jobs == {"merge": 1, "keep": 1, "evaluate": 2, **REPORTS}
    assert {path: path.read_bytes() for path in parts} == parts
    (kept,) = project.results("**/linear/**/model.safetensors")
    assert kept.parent == project.folder / "results/tiny/kept/tiny/linear/eu/w0.5"
    assert project.run("--dry-run").nothing_to_do


def test_forgotten_results_are_asked_again(project):
    """`langmerge forget` discards the tasks too, which a deleted result alone does not."""
    before = times(project.results("scores/tiny/linear/eu/w1/tasks/*.json"))
    project.langmerge("forget", "config/config.yaml", "tiny/linear/eu/w1")
    assert not project.results("scores/tiny/linear/eu/w1/tasks/*.json")
    assert project.run().jobs == {"recipes": 1, "evaluate": 1, **REPORTS}
    after = times(list(before))
    assert all(after[path] > before[path] for path in before)


# ---- disk is bounded


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_live_merges_than_allowed(project, limit):
    """Six merges; the most that were seen on disk at once, looking a hundred times a second."""
    project.configure(weights=[0.5, 1, *(0.1 * step for step in range(11, 17))], live_merges=limit, merges="disk")
    process = project.start("--until", "evaluate")
    peak, seen = 0, set()
    while process.poll() is None:
        # One that is being written is beside its final name, as .w0.5.partial-<pid>.
        live = {
            path.parent.name.lstrip(".").split(".partial")[0]
            for path in project.results("models/tiny/linear/*/*/model.safetensors")
        }
        seen |= live
        peak = max(peak, len(live))
        time.sleep(0.01)
    assert process.returncode == 0, (project.folder / "snakemake.log").read_text() + project.logs()
    assert len(seen) == 6
    assert 1 <= peak <= limit


# ---- nothing done is lost


def test_a_killed_evaluation_resumes_at_the_next_task(finished, tmp_path):
    real = finished.copy(tmp_path / "project").with_stubs("report")
    (result,) = real.results("scores/tiny/linear/eu/w1/eu.*.json")
    result.unlink()
    finished_parts = real.results("scores/tiny/linear/eu/w1/tasks/*.json")
    assert len(finished_parts) == 3
    for path in finished_parts:
        path.unlink()

    process = real.start()
    while not real.results("scores/tiny/linear/eu/w1/tasks/*.json"):
        assert process.poll() is None, (real.folder / "snakemake.log").read_text()
        time.sleep(0.002)
    kill(process)
    survivors = times(real.results("scores/tiny/linear/eu/w1/tasks/*.json"))
    assert 0 < len(survivors) < 3
    assert not result.exists()

    real.run("--unlock")
    ran = real.run("--rerun-incomplete")
    assert ran.jobs["evaluate"] == 1
    assert times(list(survivors)) == survivors
    assert real.results("scores/tiny/linear/eu/w1/tasks/*.json") == finished_parts
    assert real.run("--dry-run").nothing_to_do


# ---- wrong numbers are refused


def test_an_edited_result_is_refused(project):
    (path,) = project.results("scores/tiny/linear/eu/w1/eu.*.json")
    result = json.loads(path.read_text())
    result["scores"][0]["value"] = 99.0
    path.write_text(json.dumps(result))
    shutil.rmtree(project.folder / "results" / "tiny" / "tables")
    (project.folder / "results" / "tiny" / "scores.csv").unlink()
    ran = project.run(expect=1)
    assert f"{path.relative_to(project.folder)} was changed after it was written" in ran.output + project.logs()


# ---- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"languages": ["eu", "xx"]}, "unknown language 'xx'"),
        ({"langauges": ["eu"]}, r"config/config.yaml:\d+: langauges: unknown key. Did you mean 'languages'\?"),
    ],
)
def test_a_mistake_in_the_configuration_stops_before_any_job(project, change, message):
    """Which mistakes there are, tests/grid asks in process."""
    project.configure(**change)
    ran = project.run("--dry-run", expect=1)
    assert re.search(message, ran.output)
    assert "Traceback" not in ran.output
    assert not ran.jobs


def test_a_configuration_that_is_not_yaml(project):
    (project.folder / "config/config.yaml").write_text("run: [mini")
    ran = project.run("--dry-run", expect=1)
    # Snakemake's own message, which does not name the file
    assert "Config file is not valid JSON or YAML" in ran.output
    assert not ran.jobs


def test_results_folder_that_cannot_be_written(project):
    """A file is in the place of the run's folder (root has every permission)."""
    (project.folder / "taken").write_text("")
    project.configure(results="taken")
    ran = project.run(expect=1)
    assert "taken" in ran.output


def test_no_cores(finished):
    said = finished.run("--cores", "0", expect=1).output
    assert "error: --cores 0: no job could run. Give the number of cores" in said
    assert "Traceback" not in said


def test_languages_on_the_command_line(project):
    ran = project.run("--dry-run", "--config", "languages=eu,gl")
    assert "models/tiny/adapted/gl/w1" in ran.output
    for weight in ("w0.5", "w1"):
        assert re.search(rf"evaluate tiny/\w{{12}}: .*linear gl .*\b{weight}\b", ran.output)
