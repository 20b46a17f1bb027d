"""Slices of passthrough: layers of one or several models on top of one another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from langmerge.commands import inspect
from langmerge.merging.coverage import total
from langmerge.merging.sources import open_checkpoint
from support.mergekit import run_mergekit
from support.merging import EMBEDDINGS, HEAD, NORM, TEXT, edit_tensors, merged, refused, shapes, write_model

LAYERS = 3
PROJECTION = "model.layers.{}.self_attn.q_proj.weight"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working folder, with the models base, instruct and eu of three layers."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["base", "instruct", "eu"]):
        write_model(tmp_path / name, seed, num_hidden_layers=LAYERS)
    return tmp_path


def layers(model: str, first: int, end: int, **parameters) -> dict:
    return {"sources": [{"model": model, "layer_range": [first, end], "parameters": parameters}]}


def stack(*slices: dict, **keys) -> dict:
    return {"merge_method": "passthrough", "slices": list(slices), "dtype": "float32", **keys}


SCALED = [{"filter": "self_attn", "value": [0.5, 0.25]}, {"value": 2}]
STACKS = {
    # (the recipe; the model and the layer of each layer, and the scale of its q_proj)
    "layers twice": (
        stack(layers("instruct", 0, 2), layers("instruct", 1, 3)),
        [("instruct", 0, 1), ("instruct", 1, 1), ("instruct", 1, 1), ("instruct", 2, 1)],
    ),
    "two models, scaled": (
        stack(layers("instruct", 0, 2), layers("eu", 1, 3, scale=SCALED), layers("eu", 0, 1, scale=0.5)),
        [("instruct", 0, 1), ("instruct", 1, 1), ("eu", 1, 0.5), ("eu", 2, 0.25), ("eu", 0, 0.5)],
    ),
    "fewer layers": (stack(layers("eu", 0, 1), layers("eu", 2, 3)), [("eu", 0, 1), ("eu", 2, 1)]),
    "the first layers": (stack(layers("eu", 0, 2)), [("eu", 0, 1), ("eu", 1, 1)]),
}


@pytest.mark.parametrize("name", STACKS)
def test_each_layer_is_the_one_that_its_slice_names(folder, name):
    given, expected = STACKS[name]
    tensors = merged(given)
    config = json.loads(Path("out/config.json").read_text())
    assert config["num_hidden_layers"] == len(expected)
    assert tensors.keys() == shapes(config).keys()
    sources = {model: load_file(f"{model}/model.safetensors") for model in ("instruct", "eu")}
    for number, (model, layer, scale) in enumerate(expected):
        np.testing.assert_array_equal(
            tensors[PROJECTION.format(number)], scale * sources[model][PROJECTION.format(layer)]
        )
    first, last = expected[0][0], expected[-1][0]
    np.testing.assert_array_equal(tensors[EMBEDDINGS], sources[first][EMBEDDINGS])
    factor = 0.5 if name == "two models, scaled" else 1
    for outside in (NORM, HEAD):
        np.testing.assert_array_equal(tensors[outside], factor * sources[last][outside])


@pytest.mark.parity
def test_stacks_agree_with_mergekits(folder, mergekit_python):
    jobs = [{"recipe": given, "output": f"theirs/{name}", "seed": 0} for name, (given, _) in STACKS.items()]
    run_mergekit(mergekit_python, jobs)
    for name, (given, expected) in STACKS.items():
        ours, theirs = merged(given, f"ours/{name}"), load_file(f"theirs/{name}/model.safetensors")
        assert ours.keys() == theirs.keys()
        for tensor in ours:
            np.testing.assert_array_equal(ours[tensor], theirs[tensor], err_msg=f"{name}: {tensor}")
        assert json.loads(Path(f"theirs/{name}/config.json").read_text())["num_hidden_layers"] == len(expected)


def test_slices_of_all_layers_are_what_models_is(folder):
    whole = {"merge_method": "passthrough", "models": [{"model": "eu", "parameters": {"scale": 0.5}}]}
    merged(whole, "models")
    merged(stack(layers("eu", 0, 1, scale=0.5), layers("eu", 1, 3, scale=0.5), out_dtype="float32"), "slices")
    assert Path("models/model.safetensors").read_bytes() == Path("slices/model.safetensors").read_bytes()


def test_every_weight_is_counted_once(folder, capsys):
    given, _ = STACKS["two models, scaled"]
    merged(given)
    sources = json.loads(Path("out/langmerge.json").read_text())["sources"]
    assert [source["model"] for source in sources] == ["instruct", "eu"]
    for source in sources:
        stored = open_checkpoint(Path(source["model"])).layout.stored
        assert total(source["weights"]) == (len(stored), sum(stored.values()))
        assert list(source["sha256"]) == ["model.safetensors"]
    instruct, eu = (source["weights"] for source in sources)
    per_layer = sum(PROJECTION.format(0).rpartition(".self")[0] in name for name in load_file("eu/model.safetensors"))
    assert (instruct["merged"]["tensors"], eu["merged"]["tensors"]) == (1 + 2 * per_layer, 2 + 3 * per_layer)
    (reason,) = instruct["left_out"]
    assert "not in the stack" in reason
    inspect.run(type("Options", (), {"targets": [json.dumps(given)]}))
    assert f"{2 + 3 * per_layer} tensors" in capsys.readouterr().out


def test_a_layer_is_compared_with_the_bases_that_it_comes_from(folder):
    given, expected = STACKS["two models, scaled"]
    merged(given, "out", "--anatomy", "stack.parquet", "--anatomy-base", "base")
    rows = pd.read_parquet("stack.parquet").set_index(["tensor", "model"])
    base = load_file("base/model.safetensors")
    result = load_file("out/model.safetensors")
    for number, (_, layer, _) in enumerate(expected):
        name = PROJECTION.format(number)
        moved = np.linalg.norm(result[name] - base[PROJECTION.format(layer)])
        assert rows.loc[name, "merged"].norm == pytest.approx(moved, rel=1e-5)


# ---- as transformers loads them

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "decoder_sparse_step": 1}
KINDS = {
    # Every second layer sees four tokens.
    "gemma3": (transformers.Gemma3ForCausalLM, transformers.Gemma3TextConfig, {"sliding_window": 4}),
    "qwen3_moe": (transformers.Qwen3MoeForCausalLM, transformers.Qwen3MoeConfig, EXPERTS),
}
WINDOWS = ["sliding_attention", "full_attention"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_computes_what_its_layers_compute(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    write_model(tmp_path / "texts", 0)
    make, config, more = KINDS[kind]
    types = {"layer_types": WINDOWS * 2} if kind == "gemma3" else {}
    made = {}
    for seed, name in enumerate(["instruct", "eu"]):
        torch.manual_seed(seed)
        made[name] = make(config(**{**TEXT, "num_hidden_layers": 4}, **more, **types)).eval()
        made[name].save_pretrained(name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            Path(name, file).write_bytes(Path("texts", file).read_bytes())
    merged(stack(layers("instruct", 0, 3), layers("eu", 2, 4), layers("eu", 2, 3)))
    loaded, info = make.from_pretrained("out", output_loading_info=True)
    assert not any(info.values())
    assert loaded.config.num_hidden_layers == 6
    chosen = [("instruct", 0), ("instruct", 1), ("instruct", 2), ("eu", 2), ("eu", 3), ("eu", 2)]
    if kind == "gemma3":
        assert loaded.config.layer_types == [WINDOWS[layer % 2] for _, layer in chosen]
    x = torch.tensor([[1, 40, 50, 60, 70, 80, 90, 100]])
    stacked = made["instruct"]
    stacked.model.norm = made["eu"].model.norm
    if not stacked.config.tie_word_embeddings:
        stacked.lm_head = made["eu"].lm_head
    stacked.model.layers = torch.nn.ModuleList([made[model].model.layers[layer] for model, layer in chosen])
    stacked.config.num_hidden_layers = stacked.model.config.num_hidden_layers = len(chosen)
    if kind == "gemma3":
        stacked.model.config.layer_types = loaded.config.layer_types
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(x, use_cache=False).logits, stacked(x, use_cache=False).logits, rtol=1e-5, atol=1e-6
        )


# ---- refused


def edit_config(folder: str, **changes) -> None:
    path = Path(folder, "config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


TWICE = stack(layers("instruct", 0, 2), layers("eu", 1, 3))
TOWER = {"vision_tower.blocks.0.weight": np.zeros((2, 2), np.float32)}
SECOND = {"mtp.layers.0.norm.weight": np.zeros(2, np.float32)}
OTHER = {"model.layers.1.mlp.gate.weight": np.zeros((4, 16), np.float32)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: edit_tensors(Path("eu"), lambda own: own.update(TOWER)), ["eu has other towers", "vision_tower"]),
        (lambda: edit_config("eu", text_config={"model_type": "llama"}), ["eu is a wrapper", "text_config"]),
        (
            lambda: edit_tensors(Path("eu"), lambda own: own.update(SECOND)),
            ["layers under model.layers.*, mtp.layers.*"],
        ),
        (
            lambda: edit_config("eu", num_hidden_layers=2),
            ["eu holds 3 layers", "num_hidden_layers: 2", "several tokens"],
        ),
        (
            lambda: edit_config("eu", num_nextn_predict_layers=1),
            ["num_nextn_predict_layers is 1", "depends on its place"],
        ),
        (
            lambda: edit_tensors(Path("eu"), lambda own: own.update(OTHER)),
            ["layer 1 of eu has mlp.gate.weight [4, 16], and layer 0 of instruct no such tensor"],
        ),
        (
            lambda: edit_tensors(Path("eu"), lambda own: own.update({NORM: np.zeros(8, np.float32)})),
            ["model.norm.weight: instruct has [16], and eu [8]"],
        ),
        (lambda: edit_config("eu", vocab_size=300), ["the vocabularies differ in size"]),
        (lambda: edit_config("eu", rope_theta=1e6) or edit_config("instruct", rope_theta=1e4), ["rope_theta is"]),
        (
            lambda: [edit_config(name, model_type="unheard_of") for name in ("instruct", "eu")],
            ["transformers cannot read it", "unheard_of"],
        ),
    ],
)
def test_models_whose_layers_cannot_be_stacked(folder, change, words):
    change()
    refused(TWICE, *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            stack(layers("instruct", 0, 2), layers("eu", 1, 4)),
            ["slices[1]", "layer_range is [1, 4], and eu has 3 layers"],
        ),
        (stack(layers("instruct", 2, 2)), ["layer_range is [2, 2], expected [first layer"]),
        (stack(layers("instruct", -1, 2)), ["layer_range is [-1, 2], expected [first layer"]),
        (
            stack({"sources": [*layers("instruct", 0, 2)["sources"], *layers("eu", 0, 2)["sources"]]}),
            ["slices[0].sources: passthrough takes one model in each slice; found 2"],
        ),
        ({**TWICE, "tokenizer": {"source": "union"}}, ["tokenizer: slices of passthrough"]),
        ({**TWICE, "tokenizer_source": "union"}, ["tokenizer: slices of passthrough"]),
        ({**TWICE, "rows": "common"}, ["rows: slices of passthrough"]),
        ({**TWICE, "tokenizer_source": "base"}, ["tokenizer_source is 'base', expected one of", "instruct, eu"]),
    ],
)
def test_recipes_that_are_refused(folder, given, words):
    refused(given, *words)
