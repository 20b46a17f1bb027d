"""What recipes in the wild say that changes nothing here: it is left out, with a note."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

IN_PARAMETERS = {
    "int8_mask": (None, "it saves memory in mergekit, and changes no weight"),
    "nuslerp_flatten": (True, "langmerge always interpolates whole tensors"),
    "nuslerp_row_wise": (False, "langmerge always interpolates whole tensors"),
}
"""For a key of `parameters`, the value that changes nothing (None: any) and why."""
AT_TOP = {"name": "a recipe's name has no effect on the merge"}


def without_unneeded(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A recipe without keys that change nothing, and a note about each."""
    notes: dict[str, None] = {}
    result = {key: value for key, value in given.items() if key not in AT_TOP}
    for key in AT_TOP:
        if key in given:
            notes[f"{key} is ignored: {AT_TOP[key]}."] = None

    def cleaned(value: Any) -> Any:
        if isinstance(value, list):
            return [cleaned(item) for item in value]
        if not isinstance(value, dict):
            return value
        copy = {key: cleaned(item) for key, item in value.items()}
        if isinstance(copy.get("parameters"), dict):
            unneeded = dict(found(copy["parameters"]))
            copy["parameters"] = {key: item for key, item in copy["parameters"].items() if key not in unneeded}
            notes.update(dict.fromkeys(unneeded.values()))
        return copy

    return cleaned(result), list(notes)


def found(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys of `parameters` that change nothing, each with a note."""
    for key, (harmless, why) in IN_PARAMETERS.items():
        if key in parameters and (harmless is None or parameters[key] is harmless):
            yield key, f"{key} is ignored: {why}."
