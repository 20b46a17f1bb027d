"""The `slices` of a recipe, as mergekit has them: reading them.

Those of most methods are the layers of whole models, with parameters of their own. Those of
passthrough have one source each, and are put on top of one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.entries import Entry, check_keys, read_entries, read_list, read_mapping

WHOLE = (
    "Methods but passthrough merge whole models, layer by layer: slices follow one another from layer 0 to the last. To stack "
    "merged layers, merge first, and stack the result's with passthrough."
)


@dataclass(frozen=True)
class Slice:
    """One of the recipe's `slices`; or its `models`, as one slice without name and end."""

    name: str
    first: int
    end: int | None
    entries: Sequence[Entry]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """Layers `first` to `end` of a model, which are stacked."""

    model: Path
    first: int
    end: int


def read_slices(given: Mapping[str, Any]) -> list[Slice]:
    """mergekit's slices; refused unless they make up the whole model."""
    slices: list[Slice] = []
    for where, part, entries in read_parts(given):
        first = slices[-1].end if slices else 0
        ends = [
            read_range(source["layer_range"], f"{entry.name}: layer_range", first)
            for entry, source in zip(entries, part["sources"], strict=True)
        ]
        for entry, end in zip(entries, ends, strict=True):
            if end != ends[0]:
                raise UserError(
                    f"{entry.name}: layer_range is [{first}, {end}], expected [{first}, {ends[0]}], as of "
                    f"{entries[0].name}. {WHOLE}"
                )
        expected = {entry.folder for entry in (slices[0].entries if slices else entries)}
        for entry in entries:
            if entry.folder not in expected:
                raise UserError(
                    f"{entry.name} is not among slices[0].sources, expected the same models in all slices. {WHOLE}"
                )
        for folder in sorted(expected - {entry.folder for entry in entries}):
            raise UserError(
                f"{where}.sources lacks {folder}, expected the same models as in slices[0].sources. {WHOLE}"
            )
        slices.append(Slice(where, first, ends[0], entries, read_mapping(part, "parameters", f"{where}.parameters")))
    return slices


def read_stack(given: Mapping[str, Any]) -> tuple[list[Slice], tuple[Range, ...]]:
    """The slices of a stack, by the numbers that their layers have in it, and where they come from."""
    slices: list[Slice] = []
    ranges: list[Range] = []
    for where, part, entries in read_parts(given):
        if len(entries) > 1:
            raise UserError(f"{where}.sources: passthrough takes one model in each slice; found {len(entries)}.")
        (entry,) = entries
        first, end = read_numbers(part["sources"][0]["layer_range"], f"{entry.name}: layer_range")
        if not 0 <= first < end:
            raise UserError(
                f"{entry.name}: layer_range is [{first}, {end}], expected [first layer, the layer after the last]."
            )
        start = slices[-1].end if slices else 0
        parameters = read_mapping(part, "parameters", f"{where}.parameters")
        slices.append(Slice(where, start, start + end - first, entries, parameters))
        ranges.append(Range(entry.folder, first, end))
    return slices, tuple(ranges)


def read_parts(given: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], list[Entry]]]:
    """Each slice: what messages call it, what it says, and its sources."""
    for index, part in enumerate(read_list(given, "slices", "slices", "{sources: [...], parameters: {...}}")):
        where = f"slices[{index}]"
        if not isinstance(part, dict):
            raise UserError(f"{where} is {part!r}, expected a mapping with `sources` and, if needed, `parameters`.")
        check_keys(part, where, ("sources", "parameters"))
        yield where, part, read_entries(part, "sources", f"{where}.sources", "layer_range")


def read_numbers(value: Any, where: str) -> list[int]:
    """The two numbers of a layer_range."""
    if not isinstance(value, list) or len(value) != 2 or any(type(number) is not int for number in value):
        raise UserError(f"{where} is {value!r}, expected [first layer, the layer after the last].")
    return value


def read_range(value: Any, where: str, first: int) -> int:
    """The end of a layer_range [first, end]; `first` is the end of the slice before it."""
    value = read_numbers(value, where)
    if value[0] != first or value[1] <= first:
        expected = f"[{first}, {value[1] if value[1] > first else '...'}]"
        raise UserError(f"{where} is {value!r}, expected {expected}. {WHOLE}")
    return value[1]
