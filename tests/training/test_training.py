"""Training: the folder that it writes, reproducibility, kills, and no network."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from langmerge import cli
from langmerge.commands import train as command
from langmerge.training import loop
from langmerge.training.recipe import complete
from support.commands import call


def run(folder: Path, recipe: dict) -> bytes:
    """Train and return the weights' file."""
    loop.train(folder, complete(recipe), threads=1)
    return (folder / "model.safetensors").read_bytes()


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((folder / "metrics.json").read_text())["history"]]


def test_the_loss_falls_and_the_folder_is_complete(base, world):
    assert losses(base)[-1] < 0.7 * losses(base)[0]
    assert json.loads((base / "config.json").read_text())["dtype"] == "bfloat16"
    assert json.loads((base / "config.json").read_text())["use_cache"] is True
    record = json.loads((base / "langmerge.json").read_text())
    assert record["command"] == "train" and record["recipe"]["warmup_ratio"] == 0.1
    assert record["key"] == "0123abcd"
    assert set(record["sources"]) == {str(world / "text.jsonl"), str(world / "tokenizer" / "tokenizer.json")}
    names = {path.name for path in base.iterdir()}
    assert names == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "langmerge.json",
        "metrics.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert [path.name for path in base.parent.iterdir()] == ["base"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    ends = AutoModelForCausalLM.from_pretrained(base).generation_config.eos_token_id
    assert tokenizer.convert_ids_to_tokens(ends) == ["<|eos|>", "<|im_end|>"]


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_does_not(tmp_path, recipe):
    recipe["dtype"] = "bfloat16"
    first = run(tmp_path / "a", recipe)
    assert run(tmp_path / "b", recipe) == first
    for name in ("config.json", "generation_config.json", "tokenizer.json", "metrics.json", "langmerge.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert run(tmp_path / "c", {**recipe, "seed": 2}) != first


def test_gradient_accumulation_changes_the_memory_not_the_training(tmp_path, recipe):
    run(tmp_path / "whole", recipe)
    run(tmp_path / "parts", {**recipe, "gradient_accumulation": 2})
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "parts"), abs=1e-4)


def test_continued_training_keeps_configuration_tokenizer_and_template(base, world, tmp_path, recipe):
    continued = {key: value for key, value in recipe.items() if key not in ("init", "tokenizer")}
    continued |= {
        "from": str(base),
        "data": {str(world / "chats.jsonl"): 0.5, str(world / "text.jsonl"): 0.5},
        "save_dtype": "bfloat16",
    }
    run(tmp_path / "tuned", continued)
    for name in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "tuned" / name).read_text() == (base / name).read_text(), name
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "tuned" / "model.safetensors")
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in before.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in after.items()
    }
    assert any((before[name] != after[name]).any() for name in before)
    assert str(base / "model.safetensors") in json.loads((tmp_path / "tuned" / "langmerge.json").read_text())["sources"]


# ---- killed


def test_a_terminated_training_leaves_nothing(tmp_path, recipe, environment, monkeypatch):
    """In this process: to load torch in another one takes longer than the test."""
    before = signal.getsignal(signal.SIGTERM)
    steps = []

    def terminate(*_: object, **__: object) -> None:
        steps.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.StopIfDiverged, "on_step_end", terminate)
    try:
        with pytest.raises(SystemExit) as exit:
            cli.main(["train", str(tmp_path / "model"), "--threads", "1", "--recipe", json.dumps(recipe)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert exit.value.code == 143 and steps == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_killed_training_resumes_from_its_checkpoint_to_the_same_weights(tmp_path, recipe, monkeypatch):
    recipe |= {"steps": 300, "save_every": 20}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "langmerge",
            "train",
            tmp_path / "model",
            "--recipe",
            json.dumps(recipe),
            "--threads",
            "1",
        ],
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 90
    while not list(tmp_path.glob(".model.checkpoints-*/checkpoint-*/trainer_state.json")):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    process.kill()
    assert process.wait(timeout=30) == -signal.SIGKILL
    found, last_checkpoint = [], loop.last_checkpoint
    monkeypatch.setattr(loop, "last_checkpoint", lambda folder: found.append(last_checkpoint(folder)) or found[-1])
    resumed = run(tmp_path / "model", recipe)
    assert int(found[0].rpartition("-")[2]) >= 20
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert resumed == run(tmp_path / "uninterrupted", recipe)
    assert found[1] is None


# ---- no network


@pytest.fixture
def environment(monkeypatch) -> None:
    """No variable that turns the hub off; what the test sets is undone."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


def test_the_command_turns_the_hub_off_before_it_loads_anything(tmp_path, recipe, environment, monkeypatch):
    seen = []
    fake = SimpleNamespace(train=lambda *arguments: seen.append((arguments, os.environ["HF_HUB_OFFLINE"])))
    monkeypatch.setitem(sys.modules, "langmerge.training.loop", fake)
    monkeypatch.setattr("langmerge.training.loop", fake, raising=False)
    call(command, tmp_path / "model", "--key", "0123abcd", "--threads", 2, "--recipe", json.dumps(recipe))
    assert seen == [((tmp_path / "model", complete(recipe), 2, "0123abcd"), "1")]


def test_an_import_sets_no_variable(environment):
    before = dict(os.environ)
    importlib.reload(loop)
    assert os.environ == before
