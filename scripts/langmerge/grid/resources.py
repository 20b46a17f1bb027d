"""What jobs ask for: threads, memory, minutes and GPUs, by rule and backbone."""

from __future__ import annotations

import math
from typing import Any

from langmerge.grid.config import Config

DEFAULTS = {"mem_mb": 4000, "runtime": 60, "gpu": 0}
GROWING = ("mem_mb", "runtime")
"""What grows with each attempt of a job: memory, and the time limit."""

MARGIN, SHORTEST = 3, 30
"""Of a time limit that is made from an estimate: how many times the estimate, and minutes at least."""


def minutes(config: Config, backbone: str, results: int, hours: float | None) -> float:
    """Minutes that an evaluation job may take: `runtime` of the backbone's file for each result, else
    what is expected of them, with a margin, because a Basque evaluation takes several times as long
    as a Catalan one.

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
    if rule != "merge":
        return given.get(rule, {})
    merge = given.get("merge", {})
    evaluate = {name: value for name, value in given.get("evaluate", {}).items() if name != "runtime"}
    return {name: max(asked[name] for asked in (merge, evaluate) if name in asked) for name in {**merge, **evaluate}}


def asks_for_gpus(config: Config, rule: str) -> bool:
    """Whether any backbone of the run asks for GPUs for a rule."""
    return any("gpu" in resources(config, rule, backbone) for backbone in config.backbones)


def gpu_counts(config: Config) -> set[int]:
    """How many GPUs the jobs of the run hold: none, and each number that a backbone asks for."""
    rules = ("train", "merge", "evaluate")
    return {0, *(resources(config, rule, backbone).get("gpu", 0) for rule in rules for backbone in config.backbones)}
