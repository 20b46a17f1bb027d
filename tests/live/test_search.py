"""A search in the memory of one engine: what it asks, keeps and finds."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from langmerge.errors import UserError
from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.sealed import read_sealed
from langmerge.live.batch import BatchFile
from langmerge.live.family import Family
from langmerge.searched import lines
from support.batches import files, search_batch


@pytest.fixture(scope="module")
def whole(llamas, tasks, tmp_path_factory) -> Path:
    """All cells, evaluated in full, and their instruct model."""
    folder = tmp_path_factory.mktemp("whole")
    file = search_batch(llamas, tasks, folder)
    for name in ("instruct.json", "grid.json"):
        Family(file.with_name(name), threads=1).run()
    return folder


@pytest.fixture
def begin(llamas, tasks, whole, tmp_path) -> Callable[..., Path]:
    """Writes the file of a search that has not begun, with the instruct model's results."""

    def written(folder: Path = tmp_path, **settings: float) -> Path:
        for name in ("scores", "samples"):
            shutil.copytree(whole / name / "instruct", folder / name / "instruct")
        return search_batch(llamas, tasks, folder, **settings)

    return written


@pytest.fixture
def asked(monkeypatch) -> Counter:
    """How often each document of each unit and model was asked."""
    counts: Counter = Counter()
    answers = Evaluation.answers

    def counted(evaluation, unit, tasks):
        found = answers(evaluation, unit, tasks)
        counts.update((evaluation.model.as_posix(), unit.name(), sample["doc_hash"]) for sample in found)
        return found

    monkeypatch.setattr(Evaluation, "answers", counted)
    return counts


def answers(folder: Path) -> dict[tuple[str, str], bytes]:
    """The lines of all files of answers, by cell and task with its seed and by document."""
    found = {}
    for path in (folder / "samples").rglob("*.jsonl.gz"):
        unit = path.name.split(".block-")[0].removesuffix(".jsonl.gz")
        for line in gzip.decompress(path.read_bytes()).splitlines():
            found[path.parent.relative_to(folder).as_posix(), unit, json.loads(line)["doc_hash"]] = line
    return found


def test_a_search_asks_nothing_twice_and_answers_are_those_of_the_whole(begin, whole, tmp_path, asked):
    searched = begin()
    Family(searched, threads=1).run()
    record = read_sealed(tmp_path / "searches" / "eu.json")
    [best] = record["found"]
    assert {*asked.values()} == {1}
    found, expected = answers(tmp_path), answers(whole)
    assert found == {key: expected[key] for key in found}
    # What is found is evaluated in full; of the others, only documents that choose.
    results = [path.parent.name for path in (tmp_path / "scores" / "linear").rglob("eu.json")]
    assert results == [best.rsplit("/", 1)[1]]
    halves = {
        json.loads(line)["part"] for key, line in found.items() if "linear" in key[0] and results[0] not in key[0]
    }
    assert halves == {"dev"}
    # A full grid asks the rest, and nothing more.
    Family(searched.with_name("grid.json"), threads=1).run()
    assert {*asked.values()} == {1}
    assert files(tmp_path, "samples") == files(whole, "samples")
    ours, theirs = (
        {name: own for name, own in files(folder, "scores").items() if "/tasks/" in name}
        for folder in (tmp_path, whole)
    )
    assert ours == theirs


def test_a_killed_search_loses_at_most_a_block(begin, tmp_path, asked, monkeypatch):
    """It ends after each of its first blocks in turn."""
    searched, keep, ends = begin(), Evaluation.some_answers, []

    def broken(evaluation, unit, documents):
        before = len(asked)
        found = keep(evaluation, unit, documents)
        if len(asked) > before and len(ends) < 3:
            ends.append(unit.name())
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Evaluation, "some_answers", broken)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            Family(searched, threads=1).run()
        assert not (tmp_path / "searches").exists()
    Family(searched, threads=1).run()
    assert {*asked.values()} == {1}
    again = read_sealed(tmp_path / "searches" / "eu.json")
    (tmp_path / "searches" / "eu.json").unlink()
    asked.clear()
    Family(searched, threads=1).run()
    assert not asked
    assert read_sealed(tmp_path / "searches" / "eu.json") == again


def test_kills_at_random_moments(begin, tmp_path):
    """The killed search finds the same as one that is not."""
    script, killed = Path(__file__).parents[1] / "support" / "killing.py", tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, script, begin(killed), killed, "3"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["repeated"] == 0
    whole = tmp_path / "whole"
    Family(begin(whole), threads=1).run()
    assert files(killed, "searches", "scores", "samples") == files(whole, "searches", "scores", "samples")


def test_what_is_stopped_is_said_to_be(begin, tmp_path):
    Family(begin(budget=0.85, keep=0.1), threads=1).run()
    record = read_sealed(tmp_path / "searches" / "eu.json")
    assert record["asked"] <= 0.85
    states = {cell["id"]: cell for cell in record["cells"]}
    assert len(states) == 3
    told = lines(record)
    assert told[0].startswith(f"search tiny/linear/eu: {record['found'][0]} is best; ")
    stopped = [cell for cell in states.values() if cell["state"].startswith("stopped")]
    assert stopped
    for cell in stopped:
        assert 0 < cell["asked"] < 1 and "gain" not in cell
        assert f"{cell['id']}: stopped after {100 * cell['asked']:.0f}% of the dev documents: " in "\n".join(told)
    for name in record["found"]:
        assert states[name]["gain"] is not None


def test_a_budget_that_is_too_small_is_refused_before_a_cell_is_asked(begin, asked):
    file = begin(budget=0.3)
    with pytest.raises(UserError, match=r"1 of 1 searches failed:\n  tiny/linear/eu: a search with a budget of"):
        Family(file, threads=1).run()
    assert not asked


def test_a_batch_of_an_older_version_has_no_searches(begin):
    searched = begin()
    content = json.loads(searched.read_text())
    del content["searches"]
    searched.write_text(json.dumps(content))
    assert BatchFile.read(searched).searches == []
