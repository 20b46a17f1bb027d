"""A merge into memory has the bytes that `langmerge merge` writes, for every method and
architecture.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from langmerge.errors import UserError
from langmerge.merging.engine import Merge
from langmerge.merging.memory import MemoryMerge
from langmerge.merging.methods import METHODS
from langmerge.merging.recipe import read_recipe
from support.merging import HEAD, edit_tensors, given_for, merged, recipe, write_model
from support.shaped import SHAPES, shaped_model


def digests(given: dict, **options) -> dict[str, str]:
    """The digests of a merge into memory, whose tensors are looked at one by one."""
    size = options.pop("max_shard_size", 5 * 10**9)
    memory = MemoryMerge(Merge(read_recipe(given), 3, size), threads=2, anatomies={}, **options)
    seen = {name: data.copy() for name, _, data in memory.tensors()}
    assert {*seen} == {name for shard in memory.merge.shards for name in shard}
    return memory.digests


def written(given: dict, *options: str) -> dict[str, str]:
    merged(given, "out", "--seed", "3", *options)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path("out").glob("*.safetensors")}


@pytest.fixture(scope="module", params=SHAPES)
def shaped(request, tmp_path_factory) -> Path:
    """Three models of one architecture."""
    folder = tmp_path_factory.mktemp(request.param)
    for seed, name in enumerate(("base", "instruct", "eu")):
        shaped_model(folder / name, request.param, seed)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_every_method_and_architecture(shaped, monkeypatch, name):
    monkeypatch.chdir(shaped)
    given = given_for(name)
    assert digests(given, group=2**12) == written(given)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_type(folder, dtype):
    given = recipe("task_arithmetic", out_dtype=dtype)
    assert digests(given) == written(given)


def test_special_tokens(folder):
    tokenizer = folder / "instruct" / "tokenizer.json"
    special = [{"id": 256, "content": "<|im_start|>", "special": True}]
    tokenizer.write_text(json.dumps({**json.loads(tokenizer.read_text()), "added_tokens": special}))
    given = recipe("task_arithmetic", special_tokens="instruct")
    assert digests(given) == written(given)
    assert digests(given) != digests(recipe("task_arithmetic"))


def test_rows_that_only_the_instruct_model_has(folder):
    def add_rows(tensors):
        for name in ("model.embed_tokens.weight", HEAD):
            tensors[name] = np.concatenate([tensors[name], np.ones((3, tensors[name].shape[1]), tensors[name].dtype)])

    edit_tensors(folder / "instruct", add_rows)
    config = folder / "instruct" / "config.json"
    config.write_text(config.read_text().replace('"vocab_size": 258', '"vocab_size": 261'))
    given = recipe("task_arithmetic", rows="common")
    assert digests(given, group=1) == written(given)


def test_tied_embeddings_of_which_one_model_stores_the_head(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("base", "instruct", "eu")):
        write_model(tmp_path / name, seed, ml_dtypes.bfloat16, tie_word_embeddings=True)
    edit_tensors(tmp_path / "eu", lambda tensors: tensors.update({HEAD: tensors["model.embed_tokens.weight"].copy()}))
    assert digests(recipe("dare_ties", parameters={"density": 0.5})) == written(
        recipe("dare_ties", parameters={"density": 0.5})
    )


def test_several_files(folder):
    given = recipe("ties", parameters={"density": 0.5})
    found = digests(given, max_shard_size=20_000)
    assert len(found) > 2
    assert found == written(given, "--max-shard-size", "20KB")


def test_a_weight_that_is_not_finite(folder):
    edit_tensors(folder / "eu", lambda tensors: tensors[HEAD].__setitem__((0, 0), np.nan))
    with pytest.raises(UserError, match="NaN or infinite"):
        digests(recipe("linear"))
