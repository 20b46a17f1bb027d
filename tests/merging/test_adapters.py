"""LoRA adapters as models: they are added to the model that they were trained on, while it is read."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from langmerge.merging.coverage import total
from support.merging import EMBEDDINGS, HEAD, VOCABULARY, WIDTH, merged, recipe, refused, write_model

RANK, ALPHA = 4, 8
MATRICES = {"self_attn.q_proj": (WIDTH, WIDTH), "mlp.up_proj": (32, WIDTH), "mlp.down_proj": (WIDTH, 32)}


def write_adapter(
    folder: str,
    seed: int = 9,
    ranks: dict[str, int] | None = None,
    saved: dict[str, np.ndarray] | None = None,
    embeddings: bool = False,
    **config,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """An adapter in PEFT's format; returns the factors (A, B) of each weight."""
    generator, factors, tensors = np.random.default_rng(seed), {}, {}
    for layer in range(2):
        for name, (outputs, inputs) in MATRICES.items():
            rank = (ranks or {}).get(name, RANK)
            a, b = generator.normal(size=(rank, inputs)), generator.normal(size=(outputs, rank))
            pair = a.astype(np.float32), b.astype(np.float32)
            module = f"model.layers.{layer}.{name}"
            factors[f"{module}.weight"] = pair
            tensors |= {f"base_model.model.{module}.lora_{side}.weight": t for side, t in zip("AB", pair, strict=True)}
    if embeddings:
        a, b = generator.normal(size=(RANK, VOCABULARY)), generator.normal(size=(WIDTH, RANK))
        pair = a.astype(np.float32), b.astype(np.float32)
        factors[EMBEDDINGS] = pair[1].T, pair[0].T
        module = "base_model.model.model.embed_tokens"
        tensors |= {f"{module}.lora_embedding_{side}": t for side, t in zip("AB", pair, strict=True)}
    tensors |= {f"base_model.model.{name}": tensor for name, tensor in (saved or {}).items()}
    Path(folder).mkdir()
    save_file(tensors, f"{folder}/adapter_model.safetensors")
    given = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "base_model_name_or_path": "eu", **config}
    Path(folder, "adapter_config.json").write_text(json.dumps(given))
    return factors


def adapted(folder: str, factors, scale=ALPHA / RANK, saved=None) -> None:
    """Write a model with the adapter added to its weights in fp32, from sums in fp64."""
    tensors = load_file(f"{folder}/model.safetensors")
    result = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    for name, (a, b) in factors.items():
        factor = scale[name.split(".")[-2]] if isinstance(scale, dict) else scale
        result[name] = result[name] + (factor * (b.astype(np.float64) @ a.astype(np.float64))).astype(np.float32)
    result |= saved or {}
    write_model(Path("whole"), 2)
    save_file(result, "whole/model.safetensors", {"format": "pt"})


def with_model(name: str, **changes) -> dict:
    given = recipe(**changes)
    given["models"][1]["model"] = name
    return given


def assert_close(first, second) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        other = second[name]
        np.testing.assert_allclose(tensor, other, rtol=2**-23, atol=2**-24 * np.abs(other).max(), err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_an_adapter_is_added_to_its_model(folder, dtype):
    write_model(folder / "own", 2, dtype)
    factors = write_adapter("adapter", embeddings=True)
    adapted("own", factors)
    given = with_model("own+adapter", out_dtype="float32")
    assert_close(merged(given), merged(with_model("whole", out_dtype="float32"), "plain"))
    counts = json.loads(Path("out/langmerge.json").read_text())["sources"][1]
    assert sorted(counts["sha256"]) == ["adapter_model.safetensors", "model.safetensors"]
    files = [load_file("adapter/adapter_model.safetensors"), load_file("own/model.safetensors")]
    every = [tensor for file in files for tensor in file.values()]
    assert total(counts["weights"]) == (len(every), sum(tensor.size for tensor in every))
    assert counts["weights"]["converted"]["tensors"] == 3 * 7


def test_mergekits_own_way_to_name_an_adapter(folder):
    write_adapter("adapter")
    plain = merged(with_model("eu+adapter"), "plain")
    again = merged(with_model({"model": {"path": "eu"}, "lora": {"path": "adapter"}}))
    for name in plain:
        np.testing.assert_array_equal(again[name], plain[name])
    given = with_model({"model": {"path": "eu", "revision": "main"}})
    refused(given, "revision is one of the hub")


def test_patterns_and_rank_stabilised_scales(folder):
    ranks = {"self_attn.q_proj": 2, "mlp.up_proj": RANK, "mlp.down_proj": 3}
    patterns = {
        "rank_pattern": {"q_proj": 2, r"model\.layers\.\d+\.mlp\.down_proj": 3},
        "alpha_pattern": {"up_proj": 5},
    }
    factors = write_adapter("adapter", ranks=ranks, use_rslora=True, **patterns)
    scale = {"q_proj": ALPHA / math.sqrt(2), "up_proj": 5 / math.sqrt(RANK), "down_proj": ALPHA / math.sqrt(3)}
    adapted("eu", factors, scale)
    assert_close(merged(with_model("eu+adapter")), merged(with_model("whole"), "plain"))


@pytest.mark.parametrize("form", ["{}.weight", "{}.modules_to_save.weight", "{}.modules_to_save.default.weight"])
def test_modules_to_save_take_the_models_place(folder, form):
    generator = np.random.default_rng(3)
    head = generator.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
    norm = generator.normal(size=WIDTH).astype(np.float32)
    saved = {form.format("lm_head"): head, form.format("model.norm"): norm}
    factors = write_adapter("adapter", saved=saved, modules_to_save=["lm_head", "norm"])
    adapted("eu", factors, saved={HEAD: head, "model.norm.weight": norm})
    assert_close(merged(with_model("eu+adapter")), merged(with_model("whole"), "plain"))
    weights = json.loads(Path("out/langmerge.json").read_text())["sources"][1]["weights"]
    assert weights["left_out"]["replaced by the adapter"]["tensors"] == 2


def test_a_trained_head_of_a_tied_model(folder):
    write_model(folder / "tied", 2, tie_word_embeddings=True)
    head = np.random.default_rng(3).normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
    write_adapter("adapter", saved={"lm_head.weight": head})
    tensors, instruct = merged(with_model("tied+adapter")), load_file("instruct/model.safetensors")
    np.testing.assert_allclose(tensors[HEAD], (instruct[HEAD] + 0.5 * head) / 1.5, rtol=1e-5, atol=1e-6)


def test_embeddings_with_more_rows_and_a_tokenizer_of_the_adapters_own(folder):
    grown = np.random.default_rng(3).normal(size=(VOCABULARY + 3, WIDTH)).astype(np.float32)
    write_adapter("adapter", saved={"model.embed_tokens.weight": grown, "lm_head.weight": grown})
    Path("adapter/tokenizer.json").write_bytes(Path("eu/tokenizer.json").read_bytes())
    Path("adapter/chat_template.jinja").write_text("the adapter's")
    tensors = merged({**with_model("eu+adapter", rows="common"), "tokenizer_source": "eu+adapter"})
    assert tensors[EMBEDDINGS].shape == (VOCABULARY + 3, WIDTH)
    np.testing.assert_array_equal(tensors[EMBEDDINGS][VOCABULARY:], grown[VOCABULARY:])
    assert json.loads(Path("out/config.json").read_text())["vocab_size"] == VOCABULARY + 3
    assert Path("out/chat_template.jinja").read_text() == "the adapter's"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"use_dora": True}, ["adapter is a DoRA adapter", "merge_and_unload"]),
        ({"peft_type": "IA3"}, ["adapter is an adapter of the type 'IA3', expected LORA"]),
        ({"lora_bias": True}, ["biases of its own"]),
        ({"r": 8}, ["rank 4, and its config says 8"]),
        ({"lora_alpha": None}, ["lora_alpha is None"]),
    ],
)
def test_adapters_that_are_refused(folder, config, words):
    write_adapter("adapter", **config)
    refused(with_model("eu+adapter"), *words)


def test_an_adapter_of_another_model(folder):
    write_model(folder / "wide", 2, hidden_size=32)
    write_adapter("adapter")
    refused(with_model("wide+adapter"), "adapter_model.safetensors", "[32, 32]", "another model")
    write_model(folder / "short", 2, num_hidden_layers=1)
    refused(with_model("short+adapter"), "model.layers.1.", "short does not have", "another model")


def test_an_adapter_alone_is_no_model(folder):
    write_adapter("adapter")
    Path("adapter/config.json").write_bytes(Path("eu/config.json").read_bytes())
    refused(with_model("adapter"), "adapter is a LoRA adapter, no model", "model+adapter in a recipe")
    refused(with_model("eu+nowhere"), "nowhere: no such model folder")


@pytest.mark.parametrize("method", ["ties", "dare_ties", "della", "slerp"])
def test_bytes_do_not_depend_on_threads_and_chunks(folder, monkeypatch, method):
    from functools import partial

    from langmerge.merging.engine import Merge
    from langmerge.merging.recipe import read_recipe
    from langmerge.merging.stream import Stream

    write_adapter("adapter", embeddings=True)
    given = {**with_model("eu+adapter", method=method, parameters={"density": 0.5})}
    if method == "slerp":
        given = {"merge_method": "slerp", "base_model": "instruct", "models": [{"model": "eu+adapter"}]}
        given["parameters"] = {"t": 0.4}
    written = set()
    for threads, batch, chunk, memory in [(1, 2**20, 2**18, 0), (3, 2**10, 2**9, 2**27), (2, 5000, 1000, 2**27)]:
        sizes = {"batch_size": batch, "chunk_size": chunk, "max_in_memory": memory}
        monkeypatch.setattr("langmerge.merging.engine.Stream", partial(Stream, **sizes))
        Merge(read_recipe(given), 3, 5 * 10**9).write(folder / "out", threads, page_cache=False)
        written.add((folder / "out" / "model.safetensors").read_bytes())
    assert len(written) == 1


PEFT = """
import sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
PeftModel.from_pretrained(model, sys.argv[2]).merge_and_unload().save_pretrained(sys.argv[3])
"""


@pytest.mark.parity
@pytest.mark.parametrize("use_rslora", [False, True])
def test_an_adapter_is_what_peft_makes_of_it(folder, mergekit_python, use_rslora):
    """To the rounding of PEFT's sums: it adds the terms of a product in fp32, langmerge in fp64.
    Each rounding may cost half a unit in the last place of all terms together, as do the scale and
    the sum with W; where there is no adapter, all bits are equal.
    """
    targets = ["q_proj", "up_proj", "down_proj", "embed_tokens"]
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.mlp.up_proj": 5}}
    head = np.random.default_rng(3).normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
    factors = write_adapter(
        "adapter",
        ranks={"self_attn.q_proj": 2},
        saved={"lm_head.weight": head},
        embeddings=True,
        use_rslora=use_rslora,
        target_modules=targets,
        modules_to_save=["lm_head"],
        task_type="CAUSAL_LM",
        **patterns,
    )
    command = [str(mergekit_python), "-c", PEFT, "eu", "adapter", "theirs"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    given = {"merge_method": "passthrough", "models": [{"model": "eu+adapter"}], "out_dtype": "float32"}
    ours, theirs, plain = merged(given), load_file("theirs/model.safetensors"), load_file("eu/model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        allowed = 0.0
        if name in factors:
            a, b = factors[name]
            alpha = 5 if name == "model.layers.1.mlp.up_proj.weight" else ALPHA
            scale = alpha / (math.sqrt(len(a)) if use_rslora else len(a))
            terms = np.abs(plain[name]) + scale * (np.abs(b) @ np.abs(a))
            allowed = np.spacing(terms.astype(np.float32)) * (len(a) / 2 + 1)
            assert not np.array_equal(tensor, plain[name])
        assert (np.abs(tensor - theirs[name]) <= allowed).all(), name
