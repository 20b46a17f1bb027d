"""Merging by token: vocabularies that differ, matched by what the tokens are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from langmerge.merging.coverage import total
from langmerge.merging.engine import Merge
from langmerge.merging.recipe import read_recipe
from support.mergekit import run_mergekit
from support.merging import EMBEDDINGS, HEAD, VOCABULARY, merged, recipe, refused, write_model

WORDS = ["kaixo", "mundua"]
SPECIAL = "<|user|>"


def vocabulary(folder: str) -> dict[str, int]:
    content = json.loads(Path(folder, "tokenizer.json").read_text())
    return {**content["model"]["vocab"], **{token["content"]: token["id"] for token in content["added_tokens"]}}


def extend(folder: str, seed: int, words: list[str], special: list[str] = (), swap: bool = False) -> None:
    """Give a model words of its own, special tokens after them, and perhaps two tokens with each
    other's ids.
    """
    write_model(Path(folder), seed, vocab_size=VOCABULARY + len(words) + len(special))
    path = Path(folder, "tokenizer.json")
    content = json.loads(path.read_text())
    for word in words:
        content["model"]["vocab"][word] = len(content["model"]["vocab"])
    if swap:
        tokens = content["model"]["vocab"]
        tokens["a"], tokens["b"] = tokens["b"], tokens["a"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    first = len(content["model"]["vocab"])
    content["added_tokens"] = [{**plain, "id": first + n, "content": token} for n, token in enumerate(special)]
    path.write_text(json.dumps(content))


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "base", 0)
    extend("instruct", 1, [], [SPECIAL])
    extend("eu", 2, WORDS, swap=True)
    return tmp_path


def union(method: str = "linear", **keys) -> dict:
    given = recipe(method, tokenizer={"source": "union"}, **keys)
    del given["tokenizer_source"]
    return given


def rows(folder: str, name: str) -> dict[str, np.ndarray]:
    """A model's rows by token."""
    tensor = load_file(f"{folder}/model.safetensors")[name]
    return {token: tensor[number] for token, number in vocabulary(folder).items()}


@pytest.mark.parametrize("source", ["union", "eu", "instruct"])
@pytest.mark.parametrize("name", [EMBEDDINGS, HEAD])
def test_rows_are_matched_by_token(models, source, name):
    given = union()
    given["tokenizer"]["source"] = source
    merged(given)
    instruct, eu, result = rows("instruct", name), rows("eu", name), rows("out", name)
    tokens = {"union": {*instruct, *eu}, "eu": {*eu}, "instruct": {*instruct}}[source]
    assert {*result} == tokens
    for token, row in result.items():
        ours, theirs = instruct.get(token, eu.get(token)), eu.get(token, instruct.get(token))
        np.testing.assert_allclose(row, (ours + 0.5 * theirs) / 1.5, rtol=1e-5, atol=1e-7)
    config = json.loads(Path("out/config.json").read_text())
    assert config["vocab_size"] == len(tokens) == len(load_file("out/model.safetensors")[EMBEDDINGS])
    for record in json.loads(Path("out/langmerge.json").read_text())["sources"]:
        stored = load_file(f"{record['model']}/model.safetensors")
        assert total(record["weights"]) == (len(stored), sum(tensor.size for tensor in stored.values()))


def test_a_token_that_the_base_has_too_is_the_bases(models):
    extend("other", 3, ["mundua", "bai"])
    given = union("task_arithmetic")
    given["base_model"] = "other"
    merged(given)
    base, eu, instruct = (rows(name, EMBEDDINGS)["mundua"] for name in ("other", "eu", "other"))
    expected = base + (instruct - base) + 0.5 * (eu - base)
    np.testing.assert_allclose(rows("out", EMBEDDINGS)["mundua"], expected, rtol=1e-5, atol=1e-6)


def test_the_united_tokenizer_knows_the_tokens_of_all(models):
    merged(union())
    tokenizer = Tokenizer.from_file("out/tokenizer.json")
    assert tokenizer.get_vocab() == vocabulary("out")
    tokens = tokenizer.encode(f"{SPECIAL}a kaixo b", add_special_tokens=False).tokens
    assert tokens == [SPECIAL, "a", "Ġ", "kaixo", "Ġ", "b"]
    assert Path("out/chat_template.jinja").read_bytes() == Path("instruct/chat_template.jinja").read_bytes()


def test_equal_vocabularies_need_nothing(folder):
    plain = merged(recipe("dare_ties", parameters={"density": 0.5}), "plain")
    again = merged({**union("dare_ties", parameters={"density": 0.5}), "tokenizer_source": "instruct"})
    for name, tensor in plain.items():
        np.testing.assert_array_equal(again[name], tensor, err_msg=name)
    assert Path("out/tokenizer.json").read_bytes() == Path("plain/tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"rows": "common"}, ["rows and merging by token", "contradict"]),
        ({"special_tokens": "instruct"}, ["special_tokens and merging by token"]),
        ({"tokenizer": {"source": "union", "tokens": {}}}, ["tokenizer is {", "single tokens"]),
        ({"tokenizer": {"source": "eu"}, "tokenizer_source": "instruct"}, ["Keep one", "tokenizer: {source: union}"]),
        ({"tokenizer": {"source": "nowhere"}}, ["tokenizer_source is 'nowhere', expected one of"]),
    ],
)
def test_what_is_refused(models, keys, words):
    refused({**union(), **keys}, *words)


def test_a_model_without_a_fast_tokenizer(models):
    Path("eu/tokenizer.json").unlink()
    refused(union(), "eu has no tokenizer.json, which merging by token needs")


@pytest.mark.parity
@pytest.mark.parametrize("source", ["union", "eu"])
@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
def test_rows_agree_with_mergekits(models, mergekit_python, method, source):
    """By token, for mergekit's ids of new tokens depend on the order of a hash table."""
    given = {**union(method), "dtype": "float32"}
    given["tokenizer"]["source"] = source
    run_mergekit(mergekit_python, [{"recipe": given, "output": "theirs", "seed": 0, "tokenizer": True}])
    Merge(read_recipe(given), 0, 10**9).write(Path("out"), 2, page_cache=True)
    for name in (EMBEDDINGS, HEAD):
        ours, theirs = rows("out", name), rows("theirs", name)
        assert ours.keys() == theirs.keys()
        for token, row in ours.items():
            np.testing.assert_allclose(row, theirs[token], rtol=3e-7, atol=1e-8, err_msg=token)
