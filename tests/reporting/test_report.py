"""`langmerge collect` and `langmerge report` on a small run whose results are written by hand."""

from __future__ import annotations

import copy
import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from langmerge.commands import collect, forget, report, status
from langmerge.errors import UserError
from langmerge.evaluation.sealed import read_sealed, write_sealed
from langmerge.files import write_bytes
from langmerge.grid.grid import Grid, read_run
from langmerge.grid.results import Result
from langmerge.overview.progress import Snapshot
from langmerge.reporting.figure import read_figure_spec
from langmerge.reporting.pareto import ParetoSpec
from langmerge.reporting.samples import answers_file
from langmerge.reporting.scores import read_scores
from langmerge.reporting.sources import Sources
from langmerge.reporting.sweep import SweepSpec
from support.commands import call
from support.paper_scores import paper_rows, read
from support.paths import ROOT
from support.project import TINY_BACKBONE, TINY_RUN

RUN = "run.yaml"
NAMES = ["table2", "table3", "paired", "figure1"]


@pytest.fixture
def grid(tmp_path, monkeypatch) -> Grid:
    """A run with four results of reference models and cells, none of them finished."""
    monkeypatch.chdir(tmp_path)
    run = copy.deepcopy(TINY_RUN)
    run["tables"]["paired"] = {"layout": "paired"}
    run["tasks"][1]["fidelity"] = False
    run["tasks"].append({"task": "mini_translation_{source}_{language}", "measure": "mt", "metric": "bleu"})
    Path(RUN).write_text(yaml.safe_dump(run, sort_keys=False))
    Path("config/backbones").mkdir(parents=True)
    Path("config/backbones/tiny.yaml").write_text(yaml.safe_dump(TINY_BACKBONE))
    return read_run(RUN)


def finish(grid: Grid, result: Result, fingerprint: str = "f00d") -> None:
    """Write a sealed result: a score for each of its tasks and seeds."""
    scores = []
    for entry in grid.results.tasks_of(result):
        for seed in entry.get("seeds", [None]):
            score = {key: entry[key] for key in ("language", "measure", "task", "metric")}
            weight = result.model.weight or 0
            score |= {"seed": seed, "key": "abc", "fingerprint": fingerprint}
            scores.append(score | {"value": 50.0 + weight, "stderr": None, "n": 8, "parts": {}})
    write_sealed(result.path, {"cell": result.model.columns(), "scores": scores})


def finish_all(grid: Grid) -> None:
    for result in grid.results:
        finish(grid, result)


def written() -> list[str]:
    return sorted(str(path) for path in Path("results").rglob("*") if path.parent.name in ("tables", "figures"))


# ---- collect


def test_collect_writes_the_runs_scores(grid):
    finish_all(grid)
    call(collect, RUN)
    scores = read_scores(grid.layout.scores)
    assert len(scores) == sum(
        len(entry.get("seeds", [None])) for result in grid.results for entry in grid.results.tasks_of(result)
    )
    assert set(scores["fingerprint"]) == {"f00d"}
    first = grid.layout.scores.read_bytes()
    call(collect, RUN, "--output", "elsewhere.csv")
    assert Path("elsewhere.csv").read_bytes() == first


def test_collect_derives_measures_from_the_answers_that_were_kept(grid):
    """Not from the miniature world's instructions, which are in English."""
    finish_all(grid)
    kept = []
    for result in grid.results:
        for score in read_sealed(result.path)["scores"]:
            if score["measure"] in ("mt", "ifeval"):
                sample = {"doc": {}, "filtered_resps": ["bat eta bi dira hiru, eta hiru eta bat lau"], "filter": "none"}
                sample |= {"doc_hash": "d", "part": "dev", "task": score["task"], "bleu": ["bat eta bi", "bat"]}
                content = gzip.compress((json.dumps(sample) + "\n").encode())
                write_bytes(result.samples / answers_file(score), content)
                kept.append(score)
    call(collect, RUN)
    scores = read_scores(grid.layout.scores)
    translations = [score for score in kept if score["measure"] == "mt"]
    assert translations
    for measure in ("fidelity", "chrf"):
        own = scores[(scores["measure"] == measure) & (scores["part"] == "all")]
        assert len(own) == len(translations) and set(own["task"]) == {score["task"] for score in translations}
    first = grid.layout.scores.read_bytes()
    call(collect, RUN, "--threads", "2")
    assert grid.layout.scores.read_bytes() == first


def test_forgetting_a_task_discards_what_is_derived_from_its_answers(grid):
    result, *_ = grid.results
    first, second, *_ = (part.stem for part in grid.results.parts(result))
    names = [f"{stem}{ending}.jsonl.gz" for stem in (first, second) for ending in ("", ".fidelity-0a1b", ".chrf-2c3d")]
    for name in names:
        write_bytes(result.samples / name, b"")
    call(forget, RUN, result.model.id, "--task", first.split(".")[0])
    assert sorted(path.name for path in result.samples.iterdir()) == sorted(names[3:])


def test_an_answer_may_be_in_the_languages_of_the_run_in_those_it_translates_from_and_in_english(grid):
    assert grid.evaluated == ["eu", "en"]
    assert collect.answer_languages(grid) == ["ca", "en", "es", "eu", "gl"]


def test_suspicious_answers_are_in_scores_csv_and_in_the_status(grid):
    finish_all(grid)
    first, *_ = grid.results
    sealed = read_sealed(first.path)
    sealed["scores"][0]["diagnostics"] = {"prompts": 8, "truncated": 2}
    write_sealed(first.path, sealed)
    call(collect, RUN)
    scores = read_scores(grid.layout.scores)
    assert set(scores[scores["task"] != sealed["scores"][0]["task"]]["remarks"]) == {""}
    assert "prompts cut 25%" in set(scores["remarks"])
    lines = status.suspicions(grid)
    assert lines[0] == "Look at these answers before you trust the scores:"
    assert lines[1:] == [f"  {first.model.id} {sealed['scores'][0]['task']}: prompts cut 25%"]
    assert "\n".join(lines) in status.page(Snapshot(grid))


def test_the_status_names_some_suspicious_scores_and_counts_the_others(grid):
    finish_all(grid)
    assert status.suspicions(grid) == []
    for result in grid.results:
        sealed = read_sealed(result.path)
        for score in sealed["scores"]:
            score["diagnostics"] = {"prompts": 8, "answers": 8, "empty": 8}
        write_sealed(result.path, sealed)
    lines = status.suspicions(grid)
    everything = sum(len(read_sealed(result.path)["scores"]) for result in grid.results)
    assert len(lines) == status.SHOWN + 2
    assert lines[-1] == f"  and {everything - status.SHOWN} more; scores.csv has all, in the column remarks"


def test_a_damaged_result_does_not_stop_the_status(grid):
    finish_all(grid)
    first, *_ = grid.results
    first.path.write_text("{")
    assert f"{first.path} is damaged" in status.suspicions(grid)[1]


def test_missing_results_are_counted_and_named(grid):
    results = list(grid.results)
    for result in results[1:]:
        finish(grid, result)
    with pytest.raises(UserError, match=f"1 of the run's {len(results)} results are missing: {results[0].path}"):
        call(collect, RUN)
    assert not grid.layout.scores.exists()


def test_many_missing_results_are_not_all_named(grid):
    with pytest.raises(UserError, match=rf"{len(grid.results)} of the run's .* are missing: .*, \.\.\.") as error:
        call(collect, RUN)
    assert str(error.value).count(".json") == 5


def test_finished_results_can_be_collected_before_the_others(grid):
    with pytest.raises(UserError, match="none of the run's"):
        call(collect, RUN, "--finished")
    first, *_ = grid.results
    finish(grid, first)
    call(collect, RUN, "--finished")
    assert set(read_scores(grid.layout.scores)["method"]) == {first.model.method}


def test_an_edited_result_is_refused(grid):
    finish_all(grid)
    first, *_ = grid.results
    first.path.write_text(first.path.read_text().replace("50.0", "99.0"))
    with pytest.raises(UserError, match=f"{re.escape(first.path.name)} was changed after it was written"):
        call(collect, RUN)
    with pytest.raises(UserError, match=f"{re.escape(first.path.name)} was changed after it was written"):
        call(report, RUN, "paired")


def test_results_with_different_fingerprints_are_not_mixed(grid):
    finish_all(grid)
    merge = next(result for result in grid.results if result.model.is_merge)
    finish(grid, merge, fingerprint="01d")
    with pytest.raises(UserError, match="do not compare on mini_grammar_eu") as error:
        call(collect, RUN)
    assert merge.model.id in str(error.value)
    assert not grid.layout.scores.exists()


# ---- report


@pytest.mark.parametrize("run", ["config.yaml", "paper.yaml", "diploma.yaml"])
def test_layouts_understand_what_the_grid_tells_them(tmp_path, monkeypatch, run):
    """Every report of the shipped runs that is made from scores; these are the paper's."""
    monkeypatch.chdir(ROOT)
    grid = read_run(f"config/{run}")
    published = grid.settings.published
    sources = Sources(read(tmp_path, paper_rows()), published=published[0].parent if published else None)
    made = [one for one in grid.reports.values() if one.layout.reads == "scores" and one.layout.kind == "table"]
    assert made
    for one in made:
        files = one.layout.make(sources, one.spec, one.name)
        assert tuple(files) == one.layout.formats
        assert one.spec.get("title", "") in files["md"]
    figures = [one for one in grid.reports.values() if one.layout.reads == "scores" and one.layout.kind == "figure"]
    assert figures
    kinds = {"sweep": SweepSpec, "pareto": ParetoSpec}
    for one in figures:
        assert read_figure_spec(kinds[one.layout.name], one.spec).methods == one.spec["methods"]


def test_a_named_report_is_made_alone(grid):
    finish_all(grid)
    call(collect, RUN)
    call(report, RUN, "table3")
    assert written() == [f"results/tiny/tables/table3.{ending}" for ending in ("csv", "md", "tex")]
    assert "Tiny" in Path("results/tiny/tables/table3.md").read_text()


def test_an_unknown_name_lists_the_others(grid):
    with pytest.raises(
        UserError, match=r"no table or figure named table9, x\. It has: table2, table3, paired"
    ) as error:
        call(report, RUN, "table9", "table3", "x")
    assert all(name in str(error.value) for name in grid.reports)


def test_every_report_of_a_run_has_the_files_of_its_layout(grid):
    finish_all(grid)
    call(collect, RUN)
    call(report, RUN, *NAMES)
    files = [path for name in NAMES for path in grid.jobs.files(grid.reports[name])]
    assert written() == sorted(map(str, files))


def test_without_names_all_reports_are_made(grid):
    """The merges have no anatomies here, which the last report says."""
    finish_all(grid)
    call(collect, RUN)
    assert [*grid.reports] == [*NAMES, "report", "anatomy"]
    with pytest.raises(UserError, match=r"w0\.5\.parquet is not an anatomy"):
        call(report, RUN)
    assert len(written()) == 3 + 3 + 2 + 3 and grid.layout.report("page", "report").with_suffix(".html").is_file()


def test_a_preview_shows_what_is_finished(grid):
    """Elsewhere, from scores of its own, with room for weights that no finished cell has."""
    results = {result.model.id + result.shard: result for result in grid.results}
    for name in ("tiny/instruct/none/w0eu", "tiny/linear/eu/w0.5eu"):
        finish(grid, results[name])
    call(collect, RUN, "--finished", "--output", "preview/scores.csv")
    call(report, RUN, *NAMES, "--scores", "preview/scores.csv", "--output", "preview")
    assert not written()
    assert sorted(path.name for path in Path("preview").rglob("*.md")) == ["paired.md", "table2.md", "table3.md"]
    assert Path("preview/figures/figure1.png").is_file()
    table = pd.read_csv("preview/tables/paired.csv")
    assert set(table["weight"]) == {0.5}


def test_reports_of_answers_name_missing_results(grid):
    with pytest.raises(UserError, match="results are missing"):
        call(report, RUN, "paired")


def test_without_scores_the_remedy_is_named(grid):
    with pytest.raises(UserError, match=r"scores\.csv: no such file. Make it with `langmerge collect`"):
        call(report, RUN, "table3")
