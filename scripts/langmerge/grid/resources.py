"""What jobs ask for: threads, memory, minutes and GPUs, by rule and backbone."""

from __future__ import annotations

from typing import Any

from langmerge.grid.config import Config

DEFAULTS = {"mem_mb": 4000, "runtime": 60, "gpu": 0}
GROWING = ("mem_mb", "runtime")
"""What grows with each attempt of a job: memory, and the time limit."""


def resources(config: Config, rule: str, backbone: str) -> dict[str, Any]:
    """What the backbone's file says that a job of a rule asks for.

    A merge asks for at least what its evaluations ask for, except for the time
    (workflow/rules/merge.smk says why).
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
