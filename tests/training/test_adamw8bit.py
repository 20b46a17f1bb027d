"""AdamW with means in 8 bits: learns as AdamW does, in several processes too, and goes on exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import FileSystemReader

from langmerge.training import loop
from langmerge.training.folders import training_folders
from langmerge.training.recipe import complete
from support.ranks import finish, start


@pytest.fixture
def wide(recipe) -> dict:
    """A recipe of a model whose matrices have rows of whole blocks, but for one."""
    shape = {"hidden_size": 256, "intermediate_size": 320}
    return {**recipe, "init": {**recipe["init"], **shape}, "learning_rate": 0.002, "steps": 12}


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "history.jsonl").read_text().splitlines()]


def trained(folder: Path, recipe: dict) -> Path:
    loop.train(folder, complete(recipe), threads=1)
    return folder


def test_it_learns_as_adamw_does(tmp_path, wide):
    plain = losses(trained(tmp_path / "plain", wide))
    eight = losses(trained(tmp_path / "eight", {**wide, "optimizer": "adamw_8bit"}))
    assert eight != plain
    assert eight == pytest.approx(plain, rel=0.01)
    assert plain[-1] < 0.5 * plain[0]


def test_it_goes_on_exactly_and_in_another_number_of_processes(tmp_path, wide, monkeypatch):
    recipe = {**wide, "optimizer": "adamw_8bit", "save_minutes": 0}
    whole = trained(tmp_path / "whole", recipe)
    update = loop.Training.update

    def failing(training: loop.Training, rate: float) -> None:
        if training.step == 5:
            raise KeyboardInterrupt
        update(training, rate)

    stopped, shared = tmp_path / "stopped", tmp_path / "shared"
    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "update", failing)
        for output in (stopped, shared):
            with pytest.raises(KeyboardInterrupt):
                trained(output, recipe)
    (folder,) = training_folders(stopped)
    stored = FileSystemReader(folder / "step-5").read_metadata().state_dict_metadata
    types = {name.rpartition(".")[0]: each.properties.dtype for name, each in stored.items() if name.endswith("mean")}
    eight = {name.rpartition("layers.0.")[2] for name, dtype in types.items() if dtype == torch.uint8}
    assert len(eight) == 1 + 4 + 2 and not any("down_proj" in name or "norm" in name for name in eight)
    trained(stopped, recipe)
    assert losses(stopped) == losses(whole)
    assert (stopped / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert finish(start(2, 2, shared, complete(recipe))) == [0, 0]
    assert losses(shared) == pytest.approx(losses(whole), rel=1e-3)
