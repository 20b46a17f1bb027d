"""Trainings in several processes: equal to one, killed at any moment, resumed in another number."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from langmerge.training.recipe import complete
from support.ranks import finish, start

KILLS = int(os.environ.get("LANGMERGE_KILLS", "3"))


def curve(folder: Path) -> list[tuple[int, float, float]]:
    """Step, loss and gradient norm of each line of a history."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["norm"]) for line in lines if "loss" in line]


def trained(folder: Path, recipe: dict, size: int, per_node: int) -> Path:
    assert finish(start(size, per_node, folder, complete(recipe))) == [0] * size
    return folder


def same(one: Path, other: Path) -> None:
    """Equal losses, equal weights, each step once."""
    assert [step for step, _, _ in curve(other)] == [step for step, _, _ in curve(one)]
    for (_, *left), (_, *right) in zip(curve(one), curve(other), strict=True):
        assert left == pytest.approx(right, rel=2e-6, abs=2e-6)
    left, right = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert max(float((left[name] - right[name]).abs().max()) for name in left) < 2e-5


@pytest.fixture
def mixed(recipe, world) -> dict:
    """Documents and conversations: each process has another number of labels."""
    data = {str(world / "text.jsonl"): 1, str(world / "chats.jsonl"): 2}
    held_out = {"eu": str(world / "text.jsonl")}
    return {**recipe, "data": data, "held_out": held_out, "learning_rate": 0.001, "sequence_length": 128}


def test_sharded_training_equals_one_process(tmp_path, mixed):
    one = trained(tmp_path / "one", mixed, 1, 1)
    same(one, trained(tmp_path / "two", {**mixed, "micro_batch": 1, "recompute": True}, 2, 2))
    same(one, trained(tmp_path / "hybrid", {**mixed, "documents": "joined"}, 4, 2))
    bits = [line for line in (one / "history.jsonl").read_text().splitlines() if "bits_per_byte" in line]
    assert [json.loads(line)["step"] for line in bits] == [0, 1, 2, 3, 4, 5, 6]
    assert json.loads(bits[-1])["bits_per_byte"]["eu"] < json.loads(bits[0])["bits_per_byte"]["eu"]
    others = (tmp_path / "hybrid" / "history.jsonl").read_text().splitlines()
    for mine, other in zip(bits, [line for line in others if "bits_per_byte" in line], strict=True):
        assert json.loads(mine)["bits_per_byte"] == pytest.approx(json.loads(other)["bits_per_byte"], rel=2e-6)


def test_a_training_killed_at_any_moment_goes_on_in_another_number_of_processes(tmp_path, mixed):
    recipe = {**mixed, "steps": 24, "save_minutes": 0}
    one = trained(tmp_path / "one", recipe, 1, 1)
    source = random.Random(1)
    for number in range(KILLS):
        output, saved, killed = tmp_path / f"killed-{number}", 0, 0
        while not output.is_dir():
            size = source.choice([1, 2, 4])
            processes = start(size, min(size, 2), output, complete(recipe))
            in_a_save = number % 5 == 0 and not killed
            moment = time.monotonic() + source.uniform(0.5, 6)
            while any(process.is_alive() for process in processes):
                writing = list(tmp_path.glob(f".killed-{number}.training-*/step-*.partial"))
                if killed < 3 and (writing if in_a_save else time.monotonic() > moment):
                    killed += 1
                    saved += bool(writing)
                    for process in processes:
                        process.kill()
                time.sleep(0.002)
            finish(processes)
        same(one, output)
        assert killed and (saved or number % 5)
