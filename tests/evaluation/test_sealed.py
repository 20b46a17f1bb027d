"""Sealed results and parts: a checksum finds what was cut or edited, and it is not used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langmerge.errors import UserError
from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.lookup import Lookup
from langmerge.evaluation.sealed import read_sealed, write_sealed

VALUE = {
    "cell": {"backbone": "mini", "weight": None},
    "scores": [{"value": 41.25, "stderr": 1e-17, "n": 8, "task": "ñ", "seeds": (21, 22)}],
    "by number": {1: "a", 10: "b", 2: "c"},
}


def test_what_is_read_is_what_was_written(tmp_path):
    write_sealed(tmp_path / "a.json", VALUE)
    assert read_sealed(tmp_path / "a.json") == json.loads(json.dumps(VALUE))


def test_the_same_value_gives_the_same_bytes(tmp_path):
    write_sealed(tmp_path / "a.json", VALUE)
    write_sealed(tmp_path / "b.json", dict(reversed(VALUE.items())))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_file_that_was_cut_is_refused_wherever_it_was_cut(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, VALUE)
    whole = path.read_bytes()
    assert whole.endswith(b"}\n")
    for size in range(len(whole) - 1):  # the last line feed may be missing
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"a\.json is damaged.*langmerge forget"):
            read_sealed(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [("41.25", "41.26"), ("null", "0.5"), ('"n": 8', '"n": 9'), ('"task"', '"tasks"'), ("21", '"21"')],
)
def test_a_file_that_was_edited_is_refused(tmp_path, before, after):
    path = tmp_path / "a.json"
    write_sealed(path, VALUE)
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))
    with pytest.raises(UserError, match=r"a\.json was changed after it was written.*langmerge forget"):
        read_sealed(path)


def test_blanks_and_line_breaks_do_not_matter(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, VALUE)
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert read_sealed(path)["scores"][0]["value"] == 41.25


@pytest.mark.parametrize("text", ['{"scores": []}', "[]", "3"])
def test_a_file_without_a_checksum_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json has no checksum.*langmerge forget"):
        read_sealed(tmp_path / "a.json")


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.json: no such file"):
        read_sealed(tmp_path / "a.json")


# ---- parts of an evaluation

GRAMMAR = {"task": "mini_grammar_eu", "language": "eu", "measure": "benchmark", "metric": "acc"}
VOCABULARY = {**GRAMMAR, "task": "mini_vocabulary_eu"}


def evaluate(world: Path, out: Path, *tasks: dict) -> None:
    backend = {"dtype": "float32", "batch_size": 8, "max_length": 256}
    lookup = Lookup([world / "eu" / "tasks"])
    Evaluation(world / "model", list(tasks), lookup, out / "tasks", None, "key", False, backend).run(out / "r.json", {})


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: text.replace('"n": 8', '"n": 80', 1)])
def test_a_damaged_part_is_refused_before_anything_is_evaluated(world, tmp_path, damage):
    evaluate(world, tmp_path, GRAMMAR)
    (tmp_path / "r.json").unlink()
    (part,) = (tmp_path / "tasks").glob("*.json")
    whole = part.read_text()
    assert damage(whole) != whole
    part.write_text(damage(whole))
    with pytest.raises(UserError, match=rf"{part.name}.*langmerge forget"):
        evaluate(world, tmp_path, GRAMMAR, VOCABULARY)
    assert list((tmp_path / "tasks").glob("*.json")) == [part]
    assert not (tmp_path / "r.json").exists()
    part.unlink()
    evaluate(world, tmp_path, GRAMMAR, VOCABULARY)
    assert part.read_text() == whole
    assert len(read_sealed(tmp_path / "r.json")["scores"]) == 2
