"""A training recipe: validation and defaults. Without torch, for dry runs check recipes too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from langmerge.errors import UserError
from langmerge.yamls import read_yaml

NEUTRAL = ("micro_batch", "shard", "recompute", "save_minutes", "held_out", "evaluate_every")
"""Keys that say how a training is computed and watched, and not what is learned."""

EVALUATIONS = 20
"""How often held-out text is evaluated in a training, unless `evaluate_every` says it."""

SCHEMA = Path(__file__).with_name("recipe.schema.yaml")


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of a recipe, which also holds the defaults."""
    return read_yaml(SCHEMA)


def complete(content: Any, source: str = "recipe") -> dict[str, Any]:
    """Return a valid recipe with the defaults filled in.

    Args:
        content: what the user wrote.
        source: where it was read from, for messages.

    Raises:
        UserError: the message has the key, what was found and what was expected.
    """
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema()).iter_errors(content))
    if error is not None:
        key = ".".join(map(str, error.absolute_path)) or "(top level)"
        known = (
            f" Known keys: {', '.join(schema()['properties'])}." if error.validator == "additionalProperties" else ""
        )
        expected = f" Expected: {hint}." if (hint := error.schema.get("description")) else ""
        raise UserError(f"{source}: {key}: {error.message}.{expected}{known}")
    for key, value in numbers(content):
        if not math.isfinite(value):
            raise UserError(f"{source}: {key}: {value} is not a finite number.")
    if ("from" in content) == ("init" in content):
        found = "both" if "from" in content else "neither"
        raise UserError(
            f"{source}: give either `from` (a checkpoint to continue from) or `init` (a new model); found {found}."
        )
    if ("init" in content) != ("tokenizer" in content):
        raise UserError(
            f"{source}: `init` and `tokenizer` go together; a model continued with `from` keeps its own tokenizer."
        )
    if "lora" in content and "from" not in content:
        raise UserError(f"{source}: lora: an adapter needs the checkpoint that it belongs to. Name it as `from`.")
    if ("steps" in content) == ("tokens" in content):
        found = "both" if "steps" in content else "neither"
        raise UserError(f"{source}: give either `steps` or `tokens`, which say how long to train; found {found}.")
    defaults = {key: value["default"] for key, value in schema()["properties"].items() if "default" in value}
    recipe = {**defaults, **content}
    evaluations = max(1, number_of_steps(recipe) // EVALUATIONS)
    saved = "float32" if "lora" in recipe else recipe["dtype"]
    return {"save_dtype": saved, "evaluate_every": evaluations, **recipe}


def number_of_steps(recipe: dict[str, Any]) -> int:
    """The optimiser steps of a complete recipe."""
    of_step = recipe["batch_size"] * recipe["sequence_length"]
    return recipe["steps"] if "steps" in recipe else math.ceil(recipe["tokens"] / of_step)


def deciding(recipe: dict[str, Any]) -> dict[str, Any]:
    """The part of a recipe that decides what is learned."""
    return {key: value for key, value in recipe.items() if key not in NEUTRAL}


def numbers(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a recipe with its key. JSON schemas accept YAML's .nan and .inf."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{key}.")
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float):
                yield f"{prefix}{key}", number
