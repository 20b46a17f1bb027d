"""LoRA and QLoRA: the loss falls, only the adapter is trained and saved, PEFT loads it, and a
killed training goes on.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader
from transformers import AutoModelForCausalLM

from langmerge.errors import UserError
from langmerge.merging.engine import Merge
from langmerge.merging.recipe import read_recipe
from langmerge.training import loop
from langmerge.training.folders import training_folders
from langmerge.training.recipe import complete
from support.corpora import LENGTH
from support.ranks import finish, start


@pytest.fixture
def recipe(base, world) -> dict:
    return {
        "from": str(base),
        "data": {str(world / "chats.jsonl"): 1},
        "held_out": {"eu": str(world / "text.jsonl")},
        "lora": {"rank": 4, "alpha": 8},
        "sequence_length": LENGTH,
        "steps": 12,
        "batch_size": 4,
        "learning_rate": 0.02,
        "dtype": "float32",
    }


def losses(folder) -> list[float]:
    lines = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("lora", [{}, {"quantize": "nf4"}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_loss_falls_and_peft_loads_the_adapter(tmp_path, base, recipe, lora, dtype):
    folder = tmp_path / "adapter"
    loop.train(folder, complete({**recipe, "lora": {**recipe["lora"], **lora}, "dtype": dtype}), threads=1, key="k")
    assert losses(folder)[-1] < 0.9 * losses(folder)[0]
    names = {path.name for path in folder.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "history.jsonl", "langmerge.json"}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 8, str(base))
    assert config["target_modules"] == sorted(config["target_modules"])
    stored = load_file(folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    assert len(stored) == 2 * 7  # of one layer
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(model, folder)
    held = dict(loaded.named_parameters())
    for name, tensor in stored.items():
        assert torch.equal(held[name.replace(".weight", ".default.weight")], tensor)
    assert any(tensor.abs().max() > 0 for name, tensor in stored.items() if "lora_B" in name)


def test_langmerge_adds_the_adapter_as_peft_does(tmp_path, base, recipe):
    """To the rounding of PEFT's sums in fp32; langmerge adds in fp64 and rounds once."""
    loop.train(tmp_path / "adapter", complete(recipe), threads=1)
    given = {"merge_method": "passthrough", "models": [{"model": f"{base}+{tmp_path}/adapter"}], "out_dtype": "float32"}
    Merge(read_recipe(given), 0, 10**9, None).write(tmp_path / "ours", 1, True)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    theirs = PeftModel.from_pretrained(model, tmp_path / "adapter").merge_and_unload().state_dict()
    factors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    ours, changed = load_file(tmp_path / "ours" / "model.safetensors"), 0
    for name, tensor in ours.items():
        stem = f"base_model.model.{name.removesuffix('weight')}lora_"
        terms = plain[name].abs()
        if f"{stem}A.weight" in factors:
            terms = terms + 2 * factors[f"{stem}B.weight"].abs() @ factors[f"{stem}A.weight"].abs()  # alpha / rank
            changed += not torch.equal(tensor, plain[name])
        assert ((tensor - theirs[name]).abs().numpy() <= np.spacing(terms.numpy())).all(), name
    assert changed == 7


def test_two_processes_equal_one(tmp_path, recipe):
    one, two = tmp_path / "one", tmp_path / "two"
    loop.train(one, complete(recipe), threads=1)
    assert finish(start(2, 2, two, complete({**recipe, "recompute": True}))) == [0, 0]
    assert losses(one) == pytest.approx(losses(two), rel=2e-6)
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in (one, two))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 2e-5


@pytest.mark.parametrize("lora", [{}, {"quantize": "nf4"}])
def test_a_stopped_training_goes_on(tmp_path, recipe, lora, monkeypatch):
    recipe = complete({**recipe, "steps": 6, "save_minutes": 0, "lora": {**recipe["lora"], **lora}})
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    loop.train(whole, recipe, threads=1)
    update = loop.Training.update

    def failing(training, rate):
        if training.step == 3:
            raise KeyboardInterrupt
        update(training, rate)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop.Training, "update", failing)
        loop.train(stopped, recipe, threads=1)
    (folder,) = training_folders(stopped)
    names = FileSystemReader(folder / "step-3").read_metadata().state_dict_metadata
    assert names and all(".lora_" in name for name in names if name.startswith("model."))
    loop.train(stopped, recipe, threads=1)
    assert losses(whole) == losses(stopped)
    assert (whole / "adapter_model.safetensors").read_bytes() == (stopped / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": ["query"]}, r"`lora.targets`: .*query"),
        ({"targets": ["q_proj", "lm_head"]}, r"`lora.targets`: the embeddings and the head cannot have adapters"),
        ({"targets": ["embed_tokens"]}, r"`lora.targets`: the embeddings and the head"),
        ({"quantize": "int8"}, r"lora.quantize: 'int8' is not one of \['nf4'\]"),
    ],
)
def test_what_cannot_be_adapted_is_refused(tmp_path, recipe, change, message):
    with pytest.raises(UserError, match=message):
        loop.train(tmp_path / "adapter", complete({**recipe, "lora": {"rank": 2, **change}}), threads=1)


def test_an_adapter_needs_a_checkpoint(recipe):
    new = {key: value for key, value in recipe.items() if key != "from"}
    with pytest.raises(UserError, match=r"lora: an adapter needs the checkpoint.*`from`"):
        complete({**new, "init": {"model_type": "llama"}, "tokenizer": "t"})
