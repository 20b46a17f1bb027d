"""What jobs ask for: threads, memory, minutes and GPUs, by rule and backbone."""

from __future__ import annotations

import math
from typing import Any

from langmerge.grid.config import Config

DEFAULTS = {"mem_mb": 4000, "runtime": 60, "gpu": 0}
GROWING = ("mem_mb", "runtime")
"""What grows with each attempt of a job: memory, and the time limit."""

TRAININGS = ("train", "train_ranks")
"""The rules that train: in one process, and in several."""

MARGIN, SHORTEST = 3, 30
"""Of a time limit that is made from an estimate: how many times the estimate, and minutes at least."""


def minutes(config: Config, backbone: str, results: int, hours: float | None) -> float:
    """Minutes that an evaluation job may take: `runtime` of the backbone's file for each result,
    else what is expected of them, with a margin, because a Basque evaluation takes several times as
    long as a Catalan one.

    Args:
        results: how many it makes; hours: what they are expected to take, None if nothing tells.
    """
    given = resources(config, "evaluate", backbone).get("runtime")
    if given is not None or hours is None:
        return results * (DEFAULTS["runtime"] if given is None else given)
    return max(SHORTEST, math.ceil(MARGIN * 60 * hours))


def resources(config: Config, rule: str, backbone: str) -> dict[str, Any]:
    """What the backbone's file says that a job of a rule asks for.

    A merge that writes a checkpoint asks for at least what its evaluation asks for, except for the
    time (workflow/rules/merge.smk says why).
    """
    given = config.backbone(backbone).get("resources", {})
    if rule in TRAININGS:
        nodes, gpus = nodes_and_gpus(config, backbone)
        asked = {name: value for name, value in given.get("train", {}).items() if name not in ("nodes", "gpus")}
        return {**asked, "gpu": nodes * gpus} if gpus else asked
    if rule != "merge":
        return given.get(rule, {})
    merge = given.get("merge", {})
    evaluate = {name: value for name, value in given.get("evaluate", {}).items() if name != "runtime"}
    return {name: max(asked[name] for asked in (merge, evaluate) if name in asked) for name in {**merge, **evaluate}}


def nodes_and_gpus(config: Config, backbone: str) -> tuple[int, int]:
    """How many nodes a training of the backbone has, and how many GPUs on each of them."""
    train = config.backbone(backbone).get("resources", {}).get("train", {})
    return train.get("nodes", 1), train.get("gpus", 0)


def processes(config: Config, backbone: str) -> int:
    """How many processes a training of the backbone has: one per GPU, or one per node without."""
    nodes, gpus = nodes_and_gpus(config, backbone)
    return nodes * max(1, gpus)


def asks_for_gpus(config: Config, rule: str) -> bool:
    """Whether any backbone of the run asks for GPUs for a rule."""
    return any("gpu" in resources(config, rule, backbone) for backbone in config.backbones)


def gpu_counts(config: Config) -> set[int]:
    """How many GPUs of a node the jobs of the run hold: none, and each number that a backbone asks
    for.
    """
    training = {nodes_and_gpus(config, backbone)[1] for backbone in config.backbones}
    others = ("merge", "evaluate")
    held = {resources(config, rule, backbone).get("gpu", 0) for rule in others for backbone in config.backbones}
    return {0, *training, *held}
