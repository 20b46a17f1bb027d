"""Training: the folder that it writes, reproducibility, kills, and no network."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from langmerge import cli
from langmerge.commands import export
from langmerge.commands import train as command
from langmerge.errors import UserError
from langmerge.training import loop, sharding
from langmerge.training.checkpoints import begin_leg
from langmerge.training.data import tokenise
from langmerge.training.folders import steps_saved
from langmerge.training.history import Divergence
from langmerge.training.recipe import complete
from langmerge.training.schedule import rate
from support.commands import call
from support.corpora import LENGTH


def run(folder: Path, recipe: dict) -> bytes:
    """Train and return the weights' file."""
    loop.train(folder, complete(recipe), threads=1)
    return (folder / "model.safetensors").read_bytes()


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [*range(1, len(lines) + 1)]
    return [line["loss"] for line in lines]


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
        "history.jsonl",
        "langmerge.json",
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
    for name in ("config.json", "generation_config.json", "tokenizer.json", "langmerge.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert run(tmp_path / "c", {**recipe, "seed": 2}) != first


def test_what_saves_memory_does_not_change_the_training(tmp_path, recipe, monkeypatch):
    run(tmp_path / "whole", recipe)
    monkeypatch.setattr(sharding, "PIECE", 320 * 40)  # 40 of a sequence's 64 tokens
    run(tmp_path / "parts", {**recipe, "micro_batch": 3, "recompute": True})
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "parts"), abs=1e-5)


def test_tokens_may_be_given_in_place_of_steps(tmp_path, recipe):
    del recipe["steps"]
    run(tmp_path / "model", {**recipe, "tokens": 4 * LENGTH * 2 + 1})
    assert len(losses(tmp_path / "model")) == 3


def test_a_tokenised_corpus_is_read_as_it_is_and_only_with_its_own_tokenizer(tmp_path, recipe, world, tokenizer):
    expected = run(tmp_path / "lines", recipe)
    tokenise(tmp_path / "tokens", world / "text.jsonl", tokenizer, tokenizer.eos_token_id, None)
    assert run(tmp_path / "model", {**recipe, "data": {str(tmp_path / "tokens"): 1}}) == expected
    meta = json.loads((tmp_path / "tokens" / "meta.json").read_text())
    (tmp_path / "tokens" / "meta.json").write_text(json.dumps({**meta, "tokenizer": "another"}))
    with pytest.raises(UserError, match=r"tokens was tokenised with another tokenizer"):
        run(tmp_path / "other", {**recipe, "data": {str(tmp_path / "tokens"): 1}})


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


# ---- stopped


def test_a_terminated_training_saves_its_step_and_goes_on(tmp_path, recipe, environment, monkeypatch):
    """In this process: to load torch in another one takes longer than the test."""
    before = signal.getsignal(signal.SIGTERM)
    expected = run(tmp_path / "uninterrupted", recipe)
    update = loop.Training.update

    def terminate(self: loop.Training, *arguments: float) -> None:
        update(self, *arguments)
        if self.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    arguments = ["train", str(tmp_path / "model"), "--threads", "1", "--recipe", json.dumps(recipe)]
    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "update", terminate)
        try:
            with pytest.raises(SystemExit) as exit:
                cli.main(arguments)
        finally:
            signal.signal(signal.SIGTERM, before)
    assert exit.value.code == 143
    (folder,) = tmp_path.glob(".model.training-*")
    assert [*steps_saved(folder)] == [2]
    run(tmp_path / "model", recipe)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == expected
    assert len(losses(tmp_path / "model")) == recipe["steps"]
    assert {path.name for path in tmp_path.iterdir()} == {"model", "uninterrupted"}


def test_a_signal_while_torch_is_loaded_is_not_lost(tmp_path, recipe, environment, monkeypatch):
    class Loading(ModuleType):
        """The module of the loop, which takes seconds to import."""

        @property
        def train(self) -> Callable[..., None]:
            os.kill(os.getpid(), signal.SIGUSR1)
            return loop.train

    monkeypatch.setitem(sys.modules, loop.__name__, Loading(loop.__name__))
    arguments = ["train", str(tmp_path / "model"), "--threads", "1", "--recipe", json.dumps(recipe)]
    with pytest.raises(SystemExit, match="stopped after step 0 of 6 before the time limit"):
        cli.main(arguments)


def test_two_checkpoints_are_kept_and_what_is_not_finished_is_not_exported(tmp_path, recipe, monkeypatch):
    recipe |= {"save_minutes": 0}
    update = loop.Training.update

    def fail(self: loop.Training, *arguments: float) -> None:
        if self.step == 4:
            raise KeyboardInterrupt
        update(self, *arguments)

    monkeypatch.setattr(loop.Training, "update", fail)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "model", recipe)
    (folder,) = tmp_path.glob(".model.training-*")
    assert [*steps_saved(folder)] == [3, 4]
    with pytest.raises(UserError, match="its last checkpoint has 4 of 6 steps"):
        call(export, tmp_path / "model")
    with pytest.raises(UserError, match=r"nothing: no training of this model was found"):
        call(export, tmp_path / "nothing")


def test_a_job_that_is_requeued_without_a_step_stops(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert [begin_leg(tmp_path, step) for step in (0, 5, 5, 5)] == [1, 2, 3, 4]
    with pytest.raises(UserError, match="job 12 was requeued 3 times at step 5"):
        begin_leg(tmp_path, 5)
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    assert begin_leg(tmp_path, 5) == 5


def test_a_training_that_is_worse_than_guessing_has_diverged():
    divergence = Divergence(100)
    for step in range(100):
        divergence.check(step, 4.7, 1.0)  # not yet better than guessing, ln 100 = 4.605
    divergence.check(100, 3.0, 1.0)
    for step in range(49):
        divergence.check(step, 4.7, 1.0)
    with pytest.raises(UserError, match=r"the loss is 4.700 at step 49, and for 50 steps .* guessing, 4.605"):
        divergence.check(49, 4.7, 1.0)
    with pytest.raises(UserError, match=r"the gradient's norm is inf at step 3"):
        Divergence(100).check(3, 1.0, float("inf"))


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 1 / 3), ("linear", 1 / 3), ("constant", 1)])
def test_the_learning_rate_rises_and_falls_to_its_minimum(schedule, last):
    recipe = {"learning_rate": 3.0, "minimum_rate": 1 / 3, "warmup_ratio": 0.1, "schedule": schedule}
    rates = [rate(step, 100, recipe) for step in range(101)]
    assert rates[0] == 0 and rates[5] == 1.5 and rates[10] == 3
    assert rates[100] == pytest.approx(3 * last)
    assert all(left >= right for left, right in pairwise(rates[10:]))


# ---- no network


@pytest.fixture
def environment(monkeypatch) -> None:
    """No variable that turns the hub off; what the test sets is undone."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


def test_the_command_turns_the_hub_off_before_it_loads_anything(tmp_path, recipe, environment, monkeypatch):
    seen = []
    fake = SimpleNamespace(train=lambda *arguments: seen.append((arguments[:4], os.environ["HF_HUB_OFFLINE"])))
    monkeypatch.setitem(sys.modules, "langmerge.training.loop", fake)
    monkeypatch.setattr("langmerge.training.loop", fake, raising=False)
    call(command, tmp_path / "model", "--key", "0123abcd", "--threads", 2, "--recipe", json.dumps(recipe))
    assert seen == [((tmp_path / "model", complete(recipe), 2, "0123abcd"), "1")]


def test_an_import_sets_no_variable(environment):
    before = dict(os.environ)
    importlib.reload(loop)
    assert os.environ == before
