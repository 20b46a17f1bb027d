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
    # Pieces of a batch whose gradients are summed over the copies at the end.
    large = {**mixed, "batch_size": 8}
    whole = trained(tmp_path / "whole", large, 1, 1)
    same(whole, trained(tmp_path / "pieces", {**large, "micro_batch": 1}, 4, 2))
    same(whole, trained(tmp_path / "copies", {**large, "micro_batch": 1, "shard": "none"}, 2, 1))
    bits = [line for line in (one / "history.jsonl").read_text().splitlines() if "bits_per_byte" in line]
    assert [json.loads(line)["step"] for line in bits] == [0, 1, 2, 3, 4, 5, 6]
    assert json.loads(bits[-1])["bits_per_byte"]["eu"] < json.loads(bits[0])["bits_per_byte"]["eu"]
    others = (tmp_path / "hybrid" / "history.jsonl").read_text().splitlines()
    for mine, other in zip(bits, [line for line in others if "bits_per_byte" in line], strict=True):
        assert json.loads(mine)["bits_per_byte"] == pytest.approx(json.loads(other)["bits_per_byte"], rel=2e-6)


def kill_somewhere(processes: list, output: Path, source: random.Random, in_a_save: bool) -> bool:
    """Kill a training with all its processes after a random step, or while it writes a checkpoint;
    tell whether it was.
    """
    pattern = f".{output.name}.training-*/step-*"
    after = source.randrange(22)
    while any(process.is_alive() for process in processes):
        found = [path.name for path in output.parent.glob(pattern)]
        made = max(
            (int(name.removeprefix("step-")) for name in found if name.removeprefix("step-").isdigit()), default=0
        )
        if made >= after and (not in_a_save or any(name.endswith(".partial") for name in found)):
            if not in_a_save:
                time.sleep(source.uniform(0, 0.05))
            for process in processes:
                process.kill()
            return True
        time.sleep(0.001)
    return False


def test_a_training_killed_at_any_moment_goes_on_in_another_number_of_processes(tmp_path, mixed):
    recipe = complete({**mixed, "steps": 24, "save_minutes": 0})
    one = trained(tmp_path / "one", recipe, 1, 1)
    source = random.Random(1)
    killed = in_saves = number = 0
    while killed < KILLS:
        output = tmp_path / f"killed-{number}"
        number += 1
        in_a_save = 5 * in_saves <= killed
        size = source.choice([1, 2, 4])
        processes = start(size, min(size, 2), output, recipe)
        if kill_somewhere(processes, output, source, in_a_save):
            killed += 1
            in_saves += in_a_save
        finish(processes)
        if not output.is_dir():
            size = source.choice([1, 2, 4])
            trained(output, recipe, size, min(size, 2))
        same(one, output)
        print(f"{killed} kills, {in_saves} of them in a save, {number} trainings")
    assert 5 * in_saves >= KILLS
