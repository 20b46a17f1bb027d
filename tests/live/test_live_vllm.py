"""Merges in the memory of vLLM, really started (its build for CPUs): afterwards it is a fresh
engine of the checkpoint.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from langmerge.evaluation.engines.protocol import Generating, Scoring
from langmerge.live.weights import CellWeights
from langmerge.merging.methods import METHODS
from support.merging import given_for
from support.vllm import RemoteEngine, make_environment

pytestmark = pytest.mark.vllm

SETTINGS = {"max_length": 256}


@pytest.fixture(scope="module")
def programs() -> Path:
    return make_environment()


@pytest.fixture(scope="module")
def engine(programs, tmp_path_factory) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(programs, tmp_path_factory.mktemp("engine") / "log")
    yield engine
    engine.close()


def weights(parents: Path, method: str) -> CellWeights:
    """A cell of a method, with the paths of its models."""
    given = given_for(method)
    for key in ("base_model", "tokenizer_source"):
        if key in given:
            given[key] = str(parents / given[key])
    for entry in given["models"]:
        entry["model"] = str(parents / entry["model"])
    return CellWeights({**given, "out_dtype": "bfloat16"}, 3, "key", 1, None)


def written(cell: CellWeights, folder: Path) -> dict[str, str]:
    """The SHA-256 of the files that `langmerge merge` writes."""
    cell.open().write(folder, 1, True)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}


def answers(engine: RemoteEngine) -> tuple:
    """What an engine says to some prompts, some of which begin alike."""
    draw = random.Random(1)
    begun = [draw.randrange(250) for _ in range(140)]
    prompts = [[*begun, *(draw.randrange(250) for _ in range(length))] for length in (3, 9, 20)]
    scoring = [Scoring(prompt, [[1, 2], [1, 7], [9]]) for prompt in prompts]
    sampled = {"until": [], "max_tokens": 8, "temperature": 0.7, "top_p": 0.9, "top_k": 0, "seed": 5}
    return engine.score(scoring), engine.generate([Generating(prompt=prompt, **sampled) for prompt in prompts])


def addresses(found: list[dict]) -> list[dict]:
    return [{name: address for name, (address, _) in own.items()} for own in found]


def values(found: list[dict]) -> list[dict]:
    return [{name: digest for name, (_, digest) in own.items()} for own in found]


def test_every_method_and_architecture(engine, parents, tmp_path):
    """Every cell's digest is that of its file, no parameter moves, and the last one's answers are a
    fresh engine's.
    """
    engine.open(parents / "instruct", **SETTINGS)
    first, others = engine.call("parameters"), answers(engine)
    for method in METHODS:
        cell = weights(parents, method)
        assert engine.call("take", cell)["sha256"] == written(cell, tmp_path / method), method
    last = engine.call("parameters")
    assert addresses(last) == addresses(first)
    found = answers(engine)
    assert found != others
    engine.open(tmp_path / method, **SETTINGS)
    assert values(last) == values(engine.call("parameters"))
    assert found == answers(engine)


def test_two_processes_that_each_hold_half_of_the_model(programs, tmp_path, llamas):
    engine = RemoteEngine(programs, tmp_path / "log", processes=2).open(llamas / "instruct", **SETTINGS)
    cell = weights(llamas, "dare_ties")
    first = engine.call("parameters")
    assert engine.call("take", cell)["sha256"] == written(cell, tmp_path / "merged")
    last, found = engine.call("parameters"), answers(engine)
    assert len(last) == 2
    assert addresses(last) == addresses(first)
    engine.open(tmp_path / "merged", **SETTINGS)
    assert values(last) == values(engine.call("parameters"))
    assert found == answers(engine)
    engine.close()
