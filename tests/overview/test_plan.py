"""`langmerge plan`: it finds the jobs that Snakemake finds; its hours and gigabytes are those of
the configuration or of what has run.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from langmerge.commands import plan as command
from langmerge.errors import UserError
from langmerge.grid.grid import Grid
from langmerge.grid.results import Result
from langmerge.live.batch import BatchFile, BatchModel, Wanted
from langmerge.overview.durations import Durations
from langmerge.overview.plan import Plan
from langmerge.overview.tasks import STARTING, task_costs
from support.merging import write_tokenizer
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
    """Write the configuration of the run on two backbones, one of a hub and one that is trained
    here.
    """
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
    """Something that exists where a job's product should be; all of one age, because Snakemake
    looks at ages too.
    """
    path.mkdir(parents=True, exist_ok=True) if folder else path.parent.mkdir(parents=True, exist_ok=True)
    if not folder:
        path.write_text("{}")


# ---- jobs


def test_the_default_run_from_nothing(tmp_path, shipped_config, monkeypatch, capsys):
    project = Project.new(tmp_path / "project", {**shipped_config, "run": "fresh"})
    monkeypatch.chdir(project.folder)
    content = json.loads(planned(capsys, "--json", "--jobs", "2"))
    counts = content["jobs"]
    assert "merge" not in counts
    assert (counts["recipes"], counts["evaluate"]) == (2, 2 + 7)  # seven references
    assert counts == dry_run(project)
    (family,) = content["families"]
    assert (family["cells"], family["jobs"], family["largest"]) == (58, 2, 29)
    assert content["disk"]["merged"] == 0
    project.configure(merges="disk", keep=["mini/linear/eu/w0.5"])
    counts = json.loads(planned(capsys, "--json"))["jobs"]
    assert (counts["merge"], counts["keep"], counts["evaluate"]) == (57, 1, 58 + 7)
    assert counts == dry_run(project)


def test_a_run_with_corpora(tmp_path, shipped_config, monkeypatch, capsys):
    corpora = ["latxa-eu", "fineweb-en"]
    project = Project.new(tmp_path / "project", {**shipped_config, "run": "fresh", "corpora": corpora})
    monkeypatch.chdir(project.folder)
    counts = json.loads(planned(capsys, "--json", "--jobs", "2"))["jobs"]
    assert counts == dry_run(project)
    steps = {"fetch": 2, "clean": 2, "select": 2, "items": 1, "contamination": 2, "tokenise": 2, "table1": 1}
    assert {rule: counts[rule] for rule in steps} == steps


@pytest.mark.workflow
def test_a_finished_run_and_what_a_new_weight_and_a_lost_result_cost(finished, tmp_path, monkeypatch, capsys):
    project = finished.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    assert "nothing is left to do" in planned(capsys)
    project.configure(weights=[0.5, 0.75, 1])
    assert json.loads(planned(capsys, "--json", "--jobs", "2"))["jobs"] == dry_run(project)
    project.results("scores/tiny/linear/eu/w1/eu.*.json")[0].unlink()
    content = json.loads(planned(capsys, "--json", "--jobs", "2"))
    assert content["jobs"] == dry_run(project)
    assert (content["jobs"]["recipes"], content["jobs"]["evaluate"]) == (2, 2)
    times = {(time["rule"], time["backbone"]): time for time in content["times"]}
    assert times["evaluate", "tiny"]["source"] == "measured"
    assert 0 < times["evaluate", "tiny"]["hours"] < 0.1
    assert content["disk"]["merged"] == 0
    project.configure(merges="disk")
    disk = json.loads(planned(capsys, "--json"))["disk"]
    assert disk["merged"] == pytest.approx(2 * disk["there"] / 3, rel=0.1)  # three references are there


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_any_half_finished_run_on_two_backbones(project, grid, share, capsys):
    """Whatever part of the products exists: the same jobs as Snakemake's."""
    chance = random.Random(share)
    products = {path for job in Plan(grid).jobs for path in job.outputs if "batches" not in path.parts}
    for path in sorted(products | {result.path for result in grid.results}):
        if chance.random() < share:
            make(path, folder=not path.suffix or "@" in path.name or "models" in path.parts)
    for path in [project.folder / "results", *(project.folder / "results").rglob("*")] if share else []:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    counts = json.loads(planned(capsys, "--json", "--jobs", "2"))["jobs"]
    assert counts == dry_run(project)
    assert share or counts["fetch"] == 6
    assert counts["evaluate"] > 0


@pytest.mark.workflow
def test_the_rule_prints_the_plan_of_the_run_that_the_command_line_names(project):
    ran = project.run("plan", "--config", "languages=eu")
    (line,) = [line for line in ran.output.splitlines() if line.startswith("large: ")]
    assert line.startswith("large: 3 cells in ")
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


def test_tokens_per_word_are_those_of_what_is_there(project, capsys):
    """Texts and tokenizers that are not in the cache are named, and nothing is guessed."""
    flores = {"flores": {"dataset": "lab/flores", "files": ["devtest/*"]}}
    project.write("benchmarks.yaml", {**BENCHMARKS, **flores})
    tasks = [*RUN["tasks"], {"task": "flores_{source}-{language}", "measure": "mt", "metric": "bleu"}]
    project.configure(tasks=tasks, backbones=["large"])
    assert "where these are not there: text in eu, gl, en; the tokenizer of large/base/none/w0, " in planned(capsys)
    cache = project.folder / "results/cache"
    devtest = cache / "datasets/lab--flores@main/devtest"
    devtest.mkdir(parents=True)
    pd.DataFrame({"id": [1, 2], "text": ["Kaixo, mundu!", "Bai."]}).to_parquet(devtest / "eus_Latn.parquet")
    (devtest / "eng_Latn.jsonl").write_text('{"id": 1, "text": "Hello, world!"}\n')
    for name in ("large@main", "large-instruct@0e9e39f249a1"):
        (folder := cache / "models" / f"lab--{name}").mkdir(parents=True)
        write_tokenizer(folder)
    (cache / "models/lab--large-eu@main").mkdir()
    (known,) = (found := json.loads(planned(capsys, "--json"))["fertility"])["known"]
    assert known["models"] == ["large/base/none/w0", "large/instruct/none/w0"], "one tokenizer"
    # A token per byte: 13 and 4 bytes in three words, 13 in two.
    assert known["per_word"] == {"eu": pytest.approx(17 / 3), "gl": None, "en": 6.5}
    assert (found["texts"], found["others"]) == (["gl"], ["large/adapted/eu/w1"])
    assert found["tokenizers"] == ["large/adapted/gl/w1"]
    text = planned(capsys)
    assert re.search(r"large/base/none/w0, large/instruct/none/w0 +5\.7 +\? +6\.5\n", text)
    assert "need a tokenizer.json, which these do not have: large/adapted/eu/w1." in text
    for damaged in ('{"id": 2}\n', "2\n", '{"text": "Hel'):
        (devtest / "eng_Latn.jsonl").write_text('{"id": 1, "text": "Hello, world!"}\n' + damaged)
        with pytest.raises(UserError, match="line 2 is no JSON object with `text` or `reference`"):
            planned(capsys)
    written = pd.DataFrame({"id": [1]}).to_parquet()
    for damaged in (written, written[:-9]):
        (devtest / "eus_Latn.parquet").write_bytes(damaged)
        with pytest.raises(UserError, match="is no Parquet file with the column `text`"):
            planned(capsys)


def on_disk() -> Grid:
    """The run with checkpoints that are written."""
    return Grid({**copy.deepcopy(RUN), "merges": "disk"})


def test_hours_are_the_configurations_and_then_the_measured_ones(project):
    def time(rule, backbone="large"):
        return next(time for time in Plan(on_disk()).times if (time.rule, time.backbone) == (rule, backbone))

    grid = on_disk()
    # Four references in three languages, four linear merges in three, two of task arithmetic in
    # one, one in both.
    results, jobs = 4 * 3 + 4 * 3 + 2 + 2, 4 + 7
    assert (time("evaluate").jobs, time("evaluate").hours, time("evaluate").gpu_hours) == (
        jobs,
        pytest.approx(results * 2 / jobs),
        pytest.approx(results * 2 * 2),
    )
    assert (time("merge").jobs, time("merge").hours, time("merge").gpus, time("merge").gpu_hours) == (
        7,
        0.25,
        2,
        7 * 0.25 * 2,
    )
    assert (time("train", "tiny").hours, time("train", "tiny").gpu_hours) == (None, 0)
    large = [result for result in grid.results if result.model.backbone == "large"]
    shards = Counter(result.shard for result in large)
    assert shards == {"eu": 10, "gl": 10, "en": 8}
    measure(project, [result for result in large if result.shard == "eu"][:2], 3600, 7200)
    assert (time("evaluate").source, time("evaluate").hours) == (
        "configured",
        pytest.approx((10 * 1.5 + 18 * 2) / jobs),
    )
    measure(project, [next(result for result in large if result.shard == code) for code in ("gl", "en")], 1800, 900)
    total = 10 * 1.5 + 10 * 0.5 + 8 * 0.25
    assert (time("evaluate").jobs, time("evaluate").source) == (jobs, "measured")
    assert time("evaluate").gpu_hours == pytest.approx(total * 2)
    assert time("merge").source == "configured"


def measure(project: Project, results: list[Result], *times: int) -> None:
    """Write what Snakemake writes when these evaluations, each by itself, have taken so many
    seconds.
    """
    for result, seconds in zip(results, times, strict=True):
        backbone, name = result.model.backbone, result.fingerprint
        models = [BatchModel("", {}, "", "", False, False, "", "", [Wanted(str(result.path), 0)])]
        BatchFile({}, [], models).write(project.folder / f"results/real/batches/{backbone}/{name}.json")
        path = project.folder / f"results/real/benchmarks/evaluate/{backbone}/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:30:00\t1.0\n")


SPEED = {"prompt": 1000, "answer": 100, "start": 60}


def real(project: Project, **changes) -> Grid:
    """The run with two real tasks of known size, on a backbone of known speed."""
    backbone = {key: value for key, value in LARGE.items() if key != "hours"}
    project.write("backbones/large.yaml", {**backbone, "speed": SPEED, **changes})
    quiz = {"dataset": "lab/quiz", "documents": 500, "tokens": {"document": 100, "example": 80}}
    letter = {"dataset": "lab/letters", "documents": 200, "tokens": {"document": 50, "answer": 300}}
    project.write("benchmarks.yaml", {"quiz_eu": quiz, "quiz_gl": quiz, "letter_en": letter})
    tasks = [
        {"task": "{benchmark}", "measure": "benchmark", "metric": "acc", "fewshot": 5},
        {
            "task": "letter_{language}",
            "measure": "ifeval",
            "metric": "acc",
            "languages": ["en"],
            "models": ["instruct", "merges"],
            "seeds": [1, 2],
            "generation": {"temperature": 1, "top_p": 1, "top_k": 0, "max_gen_toks": 250},
        },
    ]
    return Grid({**copy.deepcopy(RUN), "backbones": ["large"], "tasks": tasks})


def test_hours_are_estimated_from_requests_and_tokens(project):
    """One request per document, however many choices it has."""
    run = real(project)
    quiz, letter = 60 + 500 * (100 + 5 * 80) / 1000, 60 + 2 * 200 * (50 / 1000 + 250 / 100)
    of = {(result.model.id, result.shard): Durations(run).of_result(result) for result in run.results}
    assert of["large/base/none/w0", "eu"] == (pytest.approx(quiz / 3600), "estimated")
    assert of["large/linear/eu/w1", "en"] == (pytest.approx(letter / 3600), "estimated")
    # Nothing is asked of a base model in English, so it has no evaluation there.
    assert ("large/base/none/w0", "en") not in of
    plan = Plan(run)
    (time,) = [time for time in plan.times if time.rule == "evaluate"]
    once = (len(of) - time.jobs) * 60 / 3600  # a job starts its engine once
    assert time.gpu_hours == pytest.approx(2 * (sum(hours for hours, _ in of.values()) - once))
    costs = {cost.task: cost for cost in task_costs(run, plan.pending)}
    assert sum(cost.gpu_hours for cost in costs.values()) == pytest.approx(time.gpu_hours)
    letters = costs["letter_{language}"]
    assert letters.models == ["instruct", "merges"]
    assert letters.requests == 2 * 200 * letters.evaluations
    assert (letters.prompt, letters.answer) == pytest.approx((letters.requests * 50e-6, letters.requests * 250e-6))
    assert costs["quiz_eu"].models == ["base", "instruct", "adapted", "merges"]
    assert costs["quiz_eu"].prompt == pytest.approx(500 * 500e-6 * costs["quiz_eu"].evaluations)
    assert costs[STARTING].evaluations == time.jobs


@pytest.mark.parametrize(
    ("hours", "seconds", "source"),
    [
        (0.5, 1800, "configured"),
        ({"eu": 0.25}, 900, "configured"),
        ({"quiz_*": 0.25}, 60 + 900, "estimated"),
        ({"gl": 9}, 60 + 250, "estimated"),
    ],
)
def test_hours_may_be_given_for_all_for_a_language_or_for_a_task(project, hours, seconds, source):
    run = real(project, hours={"evaluate": hours})
    result = next(result for result in run.results if result.shard == "eu")
    assert Durations(run).of_result(result) == (pytest.approx(seconds / 3600), source)


def test_hours_of_what_is_neither_a_language_nor_a_task(project):
    with pytest.raises(UserError, match=r"large.yaml:4: hours.evaluate.quizz: no task is called 'quizz'"):
        real(project, hours={"evaluate": {"quizz": 1}})


def test_a_limit_and_a_backbones_own_settings_are_part_of_the_estimate(project):
    run = real(project, tasks={"quiz_*": {"fewshot": 1, "limit": 100}})
    result = next(result for result in run.results if result.shard == "gl")
    assert Durations(run).of_result(result).hours == pytest.approx((60 + 100 * 180 / 1000) / 3600)


def test_the_page_says_who_is_asked_what(project, capsys):
    run = real(project)
    text = command.page(command.summary(Plan(run), 1))
    assert re.search(r"^letter_\{language\} +instruct, merges +5 +2,000 ", text, re.MULTILINE)
    assert re.search(r"^total ", text, re.MULTILINE)
    assert "task (estimates)" in text
    assert re.search(r"^mini_grammar_\{language\} +base, instruct, adapted, merges +\d+", planned(capsys), re.MULTILINE)


def test_gigabytes(project, grid):
    assert Plan(grid).disk["merged"] == 0
    grid = on_disk()
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


def test_the_clock(project):
    """One after another: all work. With many jobs at once, merges and their evaluations share three
    slots.
    """
    grid = on_disk()
    plan = Plan(grid)
    cells, references = 7 * 0.25 + 16 * 2, 12 * 2
    assert plan.clock(1) == pytest.approx(cells + references)
    assert plan.clock(2) == pytest.approx((cells + references) / 2)
    assert plan.clock(100) == pytest.approx(cells / 3)
    grid.config["live_merges"] = 100
    assert plan.clock(100) == pytest.approx(0.25 + 3 * 2)  # a merge, then its evaluation in three languages


def test_the_page_says_what_is_not_known(project, capsys):
    page = planned(capsys, "--jobs", "8")
    assert "with 8 jobs at a time" in page
    assert re.search(r"^models +lab/large-gl +main +17.0$", page, re.MULTILINE)
    assert re.search(r"^datasets +lab/quiz-gl +main +\?$", page, re.MULTILINE)
    assert "size is unknown: 1 repositories with a ?, models of tiny." in page
    assert re.search(r"duration is unknown: .*evaluate tiny", page)


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
