"""Any path works: folders that were moved, other working folders, odd names.

Odd are blanks, quotes, brackets, asterisks and letters that are not English.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.lookup import Lookup
from langmerge.evaluation.sealed import read_sealed
from support import hub_data

ODD = "a folder [x] of 'Iñaki' \"ñ\" * ? é"

TASKS = [
    {"task": "mini_grammar_eu", "language": "eu", "measure": "benchmark", "metric": "acc", "fewshot": 1},
    {"task": "eus_trivia", "language": "eu", "measure": "benchmark", "metric": "acc"},
    {"task": "xstorycloze_eu", "language": "eu", "measure": "benchmark", "metric": "acc"},
]


@pytest.fixture
def project(world, tmp_path) -> Path:
    """A folder with a model, the miniature world's tasks and two fetched data sets.

    One data set has a README, the other is as the hub converts it to Parquet.
    """
    folder = tmp_path / "project"
    shutil.copytree(world / "model", folder / "model")
    shutil.copytree(world / "eu/tasks", folder / "data/tasks")
    words = hub_data.Words("eu")
    trivia = {"test": ("trivia.jsonl", lambda: hub_data.question(words, 3, category="", difficulty=""))}
    hub_data.repository(folder / "cache/HiTZ--EusTrivia@main", {"default": trivia})
    stories = {split: (f"eu/{split}/0000.parquet", lambda: hub_data.story(words)) for split in ("train", "eval")}
    hub_data.fill(folder / "cache/juletxara--xstory_cloze@main", stories)
    return folder


def evaluate(folder: Path) -> list[dict]:
    datasets = {
        "HiTZ/EusTrivia": str(folder / "cache/HiTZ--EusTrivia@main"),
        "juletxara/xstory_cloze": str(folder / "cache/juletxara--xstory_cloze@main"),
    }
    lookup = Lookup([folder / "data/tasks"], datasets)
    backend = {"dtype": "float32", "batch_size": 8, "max_length": 256}
    results = folder / "results"
    evaluation = Evaluation(
        folder / "model", TASKS, lookup, results / "tasks", results / "samples", None, True, backend
    )
    evaluation.run(results / "r.json", {})
    return read_sealed(results / "r.json")["scores"]


def test_a_folder_that_was_moved_goes_on_where_it_was(project, tmp_path, monkeypatch):
    """Also to a name of odd characters, and with a relative path from another working folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user cache"))
    first = evaluate(project)
    assert [score["n"] for score in first] == [8, hub_data.ROWS["test"], hub_data.ROWS["eval"]]
    moved = tmp_path / ODD
    project.rename(moved)
    monkeypatch.chdir(tmp_path)
    parts = sorted((moved / "results/tasks").iterdir())
    assert len(parts) == len(TASKS)
    before = [path.stat().st_mtime_ns for path in parts]
    assert evaluate(Path(ODD)) == first
    assert [path.stat().st_mtime_ns for path in parts] == before  # nothing was asked again
    answers = [gzip.decompress(path.read_bytes()) for path in sorted((moved / "results/samples").iterdir())]
    assert len(answers) == len(TASKS)
    shutil.rmtree(moved / "results")
    assert evaluate(Path(ODD)) == first
    assert sorted((moved / "results/tasks").iterdir()) == parts
    assert [gzip.decompress(path.read_bytes()) for path in sorted((moved / "results/samples").iterdir())] == answers
