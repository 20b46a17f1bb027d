"""What trainings are estimated to take, against numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from langmerge.commands.plan import page, summary
from langmerge.errors import UserError
from langmerge.grid.grid import Grid
from langmerge.overview.plan import Plan
from langmerge.overview.trainings import Shape, check_memory, state, training
from support.project import TINY_RUN

LLAMA_8B = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
TRAINING = {
    "from": "base",
    "data": {"eu/corpus": 1},
    "tokens": 3_800_000_000,
    "sequence_length": 8192,
    "batch_size": 256,
    "micro_batch": 1,
    "recompute": True,
}


@pytest.fixture
def grid(tmp_path, monkeypatch) -> Grid:
    """A run that adapts a model of 8 billion weights on 8 GPUs, in legs of a day; its base model
    has only a header.
    """
    monkeypatch.chdir(tmp_path)
    base = Path("models/base")
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps({**LLAMA_8B, "model_type": "llama"}))
    header = b"{}" + b" " * 6
    (base / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    backbone = {
        "dtype": "bfloat16",
        "models": {"base": {"path": str(base)}, "instruct": {"path": str(base)}, "adapted": {"train": TRAINING}},
        "backend": {"backend": "hf", "dtype": "float32", "batch_size": 1},
        "resources": {"train": {"gpus": 8, "runtime": 1440}},
        "speed": {"train": 3206},
    }
    Path("config/backbones").mkdir(parents=True)
    Path("config/backbones/tiny.yaml").write_text(yaml.safe_dump(backbone))
    return Grid(json.loads(json.dumps(TINY_RUN)))


def test_an_8b_model_by_hand(grid):
    found = training(grid, grid.models["tiny/adapted/eu/w1"])
    # 3.8e9 tokens are 1,812 steps of 256 x 8192, rounded up.
    assert found.tokens == 1812 * 256 * 8192
    # A token takes 6 x 7.505e9 (all matrices but the input's) + 12 x 32 x 32 x 128 x 8192 = 57.9e9.
    assert found.flops == pytest.approx(found.tokens * 57.9e9, rel=0.01)
    # 3.8e9 / 3206 / 3600 = 329 hours of one GPU; on 8 of them 41 hours: two days.
    assert found.gpu_hours == pytest.approx(329.2, rel=0.01)
    assert found.legs == 2
    # float32 weights and two means of AdamW: 12 bytes x 8.03e9, three times.
    assert found.checkpoints == pytest.approx(3 * 96.4, rel=0.01)
    # 16 x 8.03e9 / 8 = 16.06 GB of state; 2 bytes x (2 layers + both ends) = 2.97; the layers'
    # inputs 32 x 8192 x 4096 x 2 = 2.15; a layer's inside 8192 x 4096 x 34 = 1.14; logits 0.81.
    assert found.memory == pytest.approx(16.06 + 2.97 + 2.15 + 1.14 + 0.81, rel=0.01)


def test_a_14b_model_by_hand():
    qwen = Shape(40, 5120, 40, 8, 128, 17408, 151936, False)
    assert qwen.flops(8192) == pytest.approx(104.1e9, rel=0.001)
    assert qwen.weights == pytest.approx(14.77e9, rel=0.001)


def test_adapters_of_an_8b_model_by_hand():
    llama = Shape(32, 4096, 32, 8, 128, 14336, 128256, False)
    # Rank 16 on all seven matrices of 32 layers: PEFT prints 41,943,040 trainable parameters.
    assert llama.adapter(16) == 41_943_040
    # 4 x 7.505e9 in place of 6: no gradient of the weights themselves.
    assert llama.flops(8192, frozen=True) == pytest.approx(42.9e9, rel=0.01)
    # Float32 weights and gradients, and two means of 8 bits with a float32 for each 256.
    assert state(llama, {"optimizer": "adamw_8bit"}, 1) == pytest.approx((4 + 4 + 2 + 2 * 4 / 256) * 8.03e9, rel=0.01)
    recipe = {"lora": {"rank": 16}, "dtype": "bfloat16"}
    # 2 bytes x 8.03e9, and 16 bytes x 41.9e6.
    assert state(llama, recipe, 1) == pytest.approx(16.06e9 + 0.67e9, rel=0.01)
    recipe["lora"]["quantize"] = "nf4"
    # 0.52 bytes x 6.98e9 in the layers, 2 bytes x 1.05e9 in head and embeddings, and the adapter.
    assert state(llama, recipe, 1) == pytest.approx(3.63e9 + 2.10e9 + 0.67e9, rel=0.01)


def test_the_plan_says_it_and_a_card_that_is_too_small_is_refused(grid):
    content = summary(Plan(grid), 1)
    (time,) = [time for time in content["times"] if time["rule"] == "train_ranks"]
    assert (time["hours"], time["source"]) == (pytest.approx(41.15, rel=0.01), "estimated")
    assert time["gpu_hours"] == pytest.approx(329.2, rel=0.01)
    assert "A training has up to 289.1 GB of checkpoints besides." in page(content)
    check_memory(grid, 24, Path("site.yaml"))
    with pytest.raises(UserError, match=r"tiny/adapted/eu/w1: .* need 23 GB .* gpu.memory of site.yaml is 22"):
        check_memory(grid, 22, Path("site.yaml"))


@pytest.mark.parametrize("key", ["gpu", "tasks", "mpi", "slurm_extra"])
def test_what_a_training_cannot_ask_for_is_refused(grid, key):
    file = Path("config/backbones/tiny.yaml")
    content = yaml.safe_load(file.read_text())
    content["resources"]["train"][key] = 1
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=rf"resources.train.*{key}"):
        Grid(json.loads(json.dumps(TINY_RUN)))
