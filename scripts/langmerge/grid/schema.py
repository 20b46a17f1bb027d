"""Checking configuration files against the JSON schemas of workflow/schemas."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import jsonschema

from langmerge.errors import UserError
from langmerge.faults import nearest, shown
from langmerge.grid.folders import ROOT
from langmerge.measures import PAIRED, TASKED
from langmerge.reporting.entries import entries_schema
from langmerge.yamls import Document, read_yaml

SCHEMAS = ROOT / "workflow" / "schemas"

TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "nothing",
}
"""What messages call JSON's types."""

At = Callable[[Sequence[str | int]], str]
"""How messages name the place of a key."""


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """The validator of workflow/schemas/<name>.schema.yaml; the settings of tasks come from
    settings.yaml, names of measures and layouts from their own lists.
    """
    schema = read_yaml(SCHEMAS / f"{name}.schema.yaml")
    schema.setdefault("$defs", {}).update(
        read_yaml(SCHEMAS / "settings.yaml"),
        measure={"enum": [*TASKED]},
        any_measure={"enum": [*PAIRED]},
        tables=entries_schema("table"),
        figures=entries_schema("figure"),
    )
    return jsonschema.Draft202012Validator(schema)


def validate(document: Document, name: str, reference: str = "config/README.md") -> None:
    """Check a file's content against workflow/schemas/<name>.schema.yaml.

    Args:
        reference: the document that explains its keys.

    Raises:
        UserError: names the file and, of all mistakes, line, key, what was found and what was
            expected.
    """
    found = schema_faults(document.content, name, document.at)
    if found:
        raise UserError("\n".join(found) + f"\n{reference} explains the keys.")


def schema_faults(content: Any, name: str, at: At) -> list[str]:
    """What of a content does not fit a schema, one message per mistake, in the order of the keys."""
    errors = sorted(validator(name).iter_errors(content), key=lambda error: [str(key) for key in error.absolute_path])
    # A value that is none of several kinds is explained by the kind that it is most like.
    errors = [jsonschema.exceptions.best_match([error]) if error.context else error for error in errors]
    return list(dict.fromkeys(message for error in errors for message in explained(error, at)))


def explained(error: jsonschema.ValidationError, at: At) -> Iterator[str]:
    """What is wrong, where, and what was expected."""
    key, value, rule = [*error.absolute_path], error.instance, error.validator_value
    schema = error.schema if isinstance(error.schema, dict) else {}
    hint = f" Expected: {described}." if (described := description(error)) else ""
    match error.validator:
        case "additionalProperties":
            known = schema["properties"]
            for extra in (name for name in value if name not in known):
                yield f"{at([*key, extra])}: unknown key.{nearest(extra, known)} Known: {', '.join(known)}.{hint}"
        case "required":
            (missing,) = re.findall(r"^'(.*)' is a required property$", error.message)
            where = "it is empty, and" if value == {} else "it"
            yield f"{at(key) if key else at([missing])}: {where} needs the key {missing}.{hint}"
        case "type":
            kinds = [rule] if isinstance(rule, str) else rule
            expected = " or ".join(TYPES[kind] for kind in kinds)
            braces = isinstance(value, dict) and [*value.values()] == [None]
            advice = f' Write text with braces in quotes: "{{{next(iter(value))}}}".' if braces else ""
            yield f"{at(key)}: found {shown(value)}, expected {expected}.{hint}{advice}"
        case "enum":
            known = ", ".join(map(str, rule))
            yield f"{at(key)}: found {shown(value)}, expected one of {known}.{nearest(value, rule)}"
        case "const":
            yield f"{at(key)}: found {shown(value)}, expected {rule}."
        case "uniqueItems":
            twice = {shown(item) for item in value if value.count(item) > 1}
            yield f"{at(key)}: {', '.join(sorted(twice))} stands twice. Keep one.{hint}"
        case "minItems" | "minProperties" if not value:
            yield f"{at(key)}: it is empty.{hint}"
        case "oneOf" | "anyOf":
            yield f"{at(key)}: found {shown(value)}.{hint}"
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            yield f"{at([*key, value])}: this name cannot be used.{hint or NAMES}"
        case "pattern":
            yield f"{at(key)}: found {shown(value)}.{hint or NAMES}"
        case "maxLength":
            yield f"{at(key)}: found {shown(value)}, expected at most {rule} characters.{hint}"
        case None:
            yield f"{at(key)}: this key cannot be given here, beside the others.{hint}"
        case _:
            yield f"{at(key)}: {error.message}.{hint}"


def description(error: jsonschema.ValidationError | None) -> str:
    """What the schema says of a place: the closest description, that of all kinds of value where it
    is one of several.
    """
    while error is not None:
        if isinstance(error.schema, dict) and "description" in error.schema:
            return error.schema["description"]
        error = error.parent
    return ""


NAMES = " Names hold ASCII letters, digits, ., _ and -, and begin with a letter or digit."


def check_weights(run: dict[str, Any], at: At) -> Iterator[str]:
    """What a JSON schema lets pass: weights that are negative or infinite, and one given twice."""
    for weights, key in weight_lists(run):
        if any(not math.isfinite(weight) or weight < 0 for weight in weights):
            yield f"{at(key)}: {weights} holds a weight that is negative or not finite. Weights are numbers >= 0."
        if len({float(weight) for weight in weights}) < len(weights):
            yield f"{at(key)}: {weights} names a weight twice. Keep one of each."


def weight_lists(run: dict[str, Any]) -> Iterator[tuple[list[float], list[str]]]:
    """Each list of weights of a run, and its key."""
    yield run["weights"], ["weights"]
    if isinstance(run.get("search", {}).get("weights"), list):
        yield run["search"]["weights"], ["search", "weights"]
    for name, experiment in run["experiments"].items():
        for kind, weights in (experiment.get("weights") or {}).items():
            yield weights, ["experiments", name, "weights", kind]
