"""Checking configuration files against the JSON schemas of workflow/schemas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema

from langmerge.errors import UserError
from langmerge.grid.folders import ROOT
from langmerge.measures import CRITERIA, TASKED
from langmerge.reporting.layouts import entries_schema
from langmerge.yamls import read_yaml

SCHEMAS = ROOT / "workflow" / "schemas"


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """The validator of workflow/schemas/<name>.schema.yaml; the settings of tasks come from
    settings.yaml, names of measures and layouts from their own lists.
    """
    schema = read_yaml(SCHEMAS / f"{name}.schema.yaml")
    schema.setdefault("$defs", {}).update(
        read_yaml(SCHEMAS / "settings.yaml"),
        measure={"enum": [*TASKED]},
        any_measure={"enum": [*CRITERIA]},
        tables=entries_schema("table"),
        figures=entries_schema("figure"),
    )
    return jsonschema.Draft202012Validator(schema)


def validate(content: Any, name: str, source: str, reference: str = "config/README.md") -> None:
    """Check a file's content against workflow/schemas/<name>.schema.yaml.

    Args:
        source: how messages call the file.
        reference: the document that explains its keys.

    Raises:
        UserError: names the file, the key, what was found and what was expected.
    """
    error = jsonschema.exceptions.best_match(validator(name).iter_errors(content))
    if error is not None:
        key = ".".join(map(str, error.absolute_path)) or "(top level)"
        hint = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
        known = ", ".join(error.schema["properties"]) if error.validator == "additionalProperties" else ""
        notes = [f" Known: {known}." if known else "", f" Expected: {hint}." if hint else ""]
        raise UserError(f"{source}: {key}: {error.message}.{''.join(notes)} See {reference}.")


def check_weights(run: dict[str, Any], source: str) -> None:
    """Refuse weights that a JSON schema lets pass: negative or infinite ones, and one given twice.

    Raises:
        UserError: names the list and the weight.
    """
    for weights, key in weight_lists(run):
        if any(not math.isfinite(weight) or weight < 0 for weight in weights):
            raise UserError(
                f"{source}: {key}: {weights} holds a weight that is negative or not finite. Weights are numbers >= 0."
            )
        if len({float(weight) for weight in weights}) < len(weights):
            raise UserError(f"{source}: {key}: {weights} names a weight twice. Keep one of each.")


def weight_lists(run: dict[str, Any]) -> Iterator[tuple[list[float], str]]:
    """Each list of weights of a run, and its key."""
    yield run["weights"], "weights"
    for name, experiment in run["experiments"].items():
        for kind, weights in (experiment.get("weights") or {}).items():
            yield weights, f"experiments.{name}.weights.{kind}"
