"""Names from outside become parts of paths: of a task, a data set, a recipe (those of the hub:
tests/hub/test_prefetch.py). None leads out of its folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from langmerge.errors import UserError
from langmerge.evaluation.groups import expanded
from langmerge.evaluation.taskfiles import forget_files
from langmerge.evaluation.units import units
from langmerge.grid.grid import read_run
from support.project import TINY_BACKBONE, TINY_RUN

BAD = ["..", "../x", "a/../../x", "/etc/x", "C:/x", "C:\\x", "a\x1bb", "a\nb", "a" * 300]
IDS = ["parent", "up", "through", "absolute", "drive", "backslash", "control", "line break", "long"]

each_bad_name = pytest.mark.parametrize("bad", BAD, ids=IDS)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder within another, with a run in which everything is right, as the working folder."""
    inner = tmp_path / "inner"
    (inner / "config/backbones").mkdir(parents=True)
    monkeypatch.chdir(inner)
    write("config/backbones/tiny.yaml", TINY_BACKBONE)
    return inner


def write(path: str, content: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def refused(folder: Path, run: dict, place: str) -> None:
    """The run is refused, for what stands at this place, and nothing was written outside."""
    with pytest.raises(UserError) as error:
        read_run(json.dumps(run))
    assert place in str(error.value)
    assert [path.name for path in folder.parent.iterdir()] == ["inner"]


def changed(**changes: object) -> dict:
    return {**json.loads(json.dumps(TINY_RUN)), **changes}


def test_the_run_is_right(folder):
    assert read_run(json.dumps(TINY_RUN)).models


@each_bad_name
def test_of_a_run_its_methods_and_its_parts(folder, bad):
    """A recipe's name is that of its method, its language and its backbone."""
    for key in ("run", "part"):
        refused(folder, changed(**{key: bad}), key)
    for key in ("languages", "backbones"):
        refused(folder, changed(**{key: [bad]}), key)
    refused(folder, changed(methods={bad: {"merge_method": "linear"}, **TINY_RUN["methods"]}), "methods")
    refused(folder, changed(tables={bad: {"layout": "adapted"}}), "tables")
    refused(folder, changed(tables={"one": {"layout": "adapted", "alias": bad}}), "tables.one.alias")
    refused(folder, changed(keep=[bad]), "keep")


@each_bad_name
def test_of_the_corpora_of_a_recipe(folder, bad):
    train = {"init": {"model_type": "llama"}, "data": {bad: 1}, "steps": 1}
    write(
        "config/backbones/tiny.yaml", {**TINY_BACKBONE, "models": {**TINY_BACKBONE["models"], "base": {"train": train}}}
    )
    refused(folder, TINY_RUN, "is no training text")
    write("config/backbones/tiny.yaml", {**TINY_BACKBONE, "tokenizer": {"vocab_size": 400, "corpora": [bad]}})
    refused(folder, TINY_RUN, "is no training text")


@each_bad_name
def test_of_a_task(folder, bad):
    task = {"task": bad, "measure": "benchmark", "metric": "acc"}
    refused(folder, changed(tasks=[task]), "tasks.0.task")
    write("config/benchmarks.yaml", {bad: {"dataset": "lab/quiz"}})
    refused(folder, TINY_RUN, "benchmarks.yaml")
    Path("config/benchmarks.yaml").unlink()
    with pytest.raises(UserError, match="is part of the names of files"):
        list(units([task], lambda entry: []))


@each_bad_name
def test_of_the_members_of_a_group_of_tasks(folder, bad):
    """They come from a file that somebody else may have written."""
    write(
        "tasks/quiz.yaml",
        {"group": "quiz", "task": [bad], "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}]},
    )
    forget_files()
    entries = expanded({"task": "quiz", "measure": "benchmark", "metric": "acc"}, [Path("tasks")])
    with pytest.raises(UserError, match="is part of the names of files"):
        list(units(entries, lambda entry: []))


@each_bad_name
def test_of_a_data_set(folder, bad):
    for entry in ({"dataset": bad}, {"dataset": f"lab/{bad}"}, {"dataset": "lab/quiz", "revision": bad}):
        write("config/benchmarks.yaml", {"quiz": entry})
        refused(folder, TINY_RUN, "quiz.revision" if "revision" in entry else "quiz.dataset")


@each_bad_name
def test_of_a_corpus_and_its_data_set(folder, bad):
    corpus = {"language": "eu"}
    refused(folder, changed(corpora=[bad]), "corpora")
    for source in ({"hub": bad}, {"hub": f"lab/{bad}"}, {"hub": "lab/text", "revision": bad}):
        write("config/corpora/text.yaml", {**corpus, "source": {**source, "files": ["*.parquet"]}})
        refused(folder, changed(corpora=["text"]), "source.revision" if "revision" in source else "source.hub")
