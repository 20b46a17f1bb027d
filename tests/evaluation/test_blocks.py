"""Blocks: some documents of a unit, asked before the others, with the answers of the whole unit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from langmerge.evaluation.engines.transformers import TransformersEngine
from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.lookup import Lookup
from langmerge.evaluation.sealed import read_sealed

TASKS = [
    {"task": "mini_grammar_eu", "language": "eu", "measure": "benchmark", "metric": "acc", "fewshot": 2},
    {
        "task": "mini_translation_en_eu",
        "language": "eu",
        "measure": "mt",
        "metric": "bleu",
        "fewshot": 1,
        "generation": {"max_gen_toks": 4},
    },
    {
        "task": "mini_ifeval_eu",
        "language": "eu",
        "measure": "ifeval",
        "metric": "inst_level_strict_acc",
        "seeds": [21, 22],
        "generation": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_gen_toks": 8},
    },
]


def evaluation(world: Path, out: Path) -> Evaluation:
    """With batches of one: the numbers of a longer one depend a little on what else is in it."""
    return Evaluation(
        model=world / "model",
        tasks=TASKS,
        lookup=Lookup([world / "eu" / "tasks"]),
        parts=out / "tasks",
        samples=out / "samples",
        key="weights",
        chat_template=True,
        backend={"dtype": "float32", "batch_size": 1, "max_length": 512},
    )


def lines(path: Path) -> dict[str, bytes]:
    """The lines of a file of answers by their documents."""
    found = gzip.decompress(path.read_bytes()).splitlines()
    return {json.loads(line)["doc_hash"]: line for line in found}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory) -> Path:
    """The results of all documents at once."""
    out = tmp_path_factory.mktemp("whole")
    evaluation(world, out).run(out / "result.json", {})
    return out


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """How many prompts each call of the engine had."""
    counts: list[int] = []
    for name in ("score", "generate"):
        method = getattr(TransformersEngine, name)

        def counted(engine, requests, method=method):
            counts.append(len(requests))
            return method(engine, requests)

        monkeypatch.setattr(TransformersEngine, name, counted)
    return counts


def test_the_answers_of_a_block_are_those_of_the_whole(world, whole, tmp_path, asked):
    one = evaluation(world, tmp_path)
    for unit in one.units:
        expected = lines(whole / "samples" / f"{one.part(unit).stem}.jsonl.gz")
        documents = sorted(expected)[1:3]
        asked.clear()
        one.some_answers(unit, documents)
        assert asked == [2]
        [block] = (tmp_path / "samples").glob(f"{one.part(unit).stem}.block-*.jsonl.gz")
        assert lines(block) == {document: expected[document] for document in documents}
        one.some_answers(unit, documents[:1])
        assert asked == [2]  # nothing is asked twice
        one.some_answers(unit, sorted(expected)[:3])
        assert asked == [2, 1]


def test_the_whole_asks_only_what_no_block_has(world, whole, tmp_path, asked):
    one = evaluation(world, tmp_path)
    sizes = []
    for unit in one.units:
        documents = sorted(lines(whole / "samples" / f"{one.part(unit).stem}.jsonl.gz"))
        one.some_answers(unit, documents[:2])
        if unit.entry["measure"] == "mt":
            one.some_answers(unit, documents[2:])  # nothing is left
        else:
            sizes.append(len(documents) - 2)
    asked.clear()
    one.run(tmp_path / "result.json", {})
    assert asked == sizes
    assert files(tmp_path) == files(whole)


def test_blocks_of_other_versions_are_asked_again(world, whole, tmp_path, asked):
    one = evaluation(world, tmp_path)
    unit = one.units[0]
    documents = sorted(lines(whole / "samples" / f"{one.part(unit).stem}.jsonl.gz"))
    one.some_answers(unit, documents[:2])
    one.lm.engine.versions = {**one.lm.engine.versions, "torch": "other"}
    asked.clear()
    one.evaluate(unit)
    assert asked == [len(documents)]
    assert read_sealed(one.part(unit))["made_with"]["versions"]["torch"] == "other"
    assert not [*tmp_path.rglob("*block*")]
