"""What became of every weight of every source: merged, converted and merged, copied, or left out.

Each stored tensor is counted once, and each of its weights, so that the counts of a model add up to
what its files hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from langmerge.merging.alignment import Rows
from langmerge.merging.compatibility import Plan
from langmerge.merging.computed import Source
from langmerge.merging.sources import Checkpoint
from langmerge.merging.stacking import UNSTACKED, Stack

ROWS = "rows of tokens that not all models have: tokenizer_source's are taken"
UNUSED = "rows of tokens that the result does not have"
SPECIAL = "rows of special tokens, which are copied from another model"


def coverage(plan: Plan, unmerged_rows: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """For each model, {tensors, weights} under merged, converted, copied and each reason of
    left_out. In place of a stack, the models that it is made of are counted.

    A tensor is counted where most of what it holds goes: under `merged` if any of its weights are;
    its weights where each of them goes.

    Args:
        unmerged_rows: for each tensor of which some rows are copied from one model (special
            tokens), that model's index and the number of rows.
    """
    counts: list[dict[str, Any]] = []
    for index, checkpoint in enumerate(plan.checkpoints):
        if isinstance(checkpoint, Stack):
            counts += map(count_of_stack, checkpoint.parts, checkpoint.taken)
        else:
            counts.append(count(plan, index, checkpoint, unmerged_rows))
    return counts


def count_of_stack(checkpoint: Checkpoint, taken: frozenset[str]) -> dict[str, Any]:
    """What became of one model of a stack; a layer that is there twice is counted once."""
    layout = checkpoint.layout
    fates = {name: {reason: layout.stored[name]} for name, reason in layout.left_out.items()}
    for name, uses in layout.uses.items():
        fate = ("converted" if name in layout.converted else "merged") if name in taken else UNSTACKED
        for stored, weights in uses.items():
            fates.setdefault(stored, {}).setdefault(fate, 0)
            fates[stored][fate] += weights
    return tally(fates)


def count(
    plan: Plan, index: int, checkpoint: Checkpoint, unmerged_rows: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    layout = checkpoint.layout
    fates: dict[str, dict[str, int]] = {name: {} for name in layout.stored}

    def add(stored: str, fate: str, weights: int) -> None:
        if weights:
            fates[stored][fate] = fates[stored].get(fate, 0) + weights

    for name, reason in layout.left_out.items():
        add(name, reason, layout.stored[name])
    for name, uses in layout.uses.items():
        rest = plan.left_out[index].get(name) or ("copied" if checkpoint is plan.main else None)
        shape = plan.merged.get(name)
        fate = "converted" if name in layout.converted else "merged"
        for stored, weights in uses.items():
            if shape is None:
                add(stored, rest, weights)
                continue
            # Of what an adapter adds, all goes with the rows that are merged.
            if weights != stored_size(layout.tensors[name]):
                add(stored, fate, weights)
                continue
            width = prod(shape[1:])
            tensor = layout.tensors[name]
            if isinstance(tensor, Rows):
                add(stored, fate, tensor.used * width)
                add(stored, UNUSED, tensor.own.size - tensor.used * width)
                continue
            special = 0
            if name in unmerged_rows:
                source, rows = unmerged_rows[name]
                special = rows * width
                add(stored, "copied" if source == index else SPECIAL, special)
            extra = layout.tensors[name].size - prod(shape)
            if extra:
                add(stored, "copied" if checkpoint is plan.main else ROWS, extra)
            add(stored, fate, weights - special - extra)
    return tally(fates)


def stored_size(tensor: Source) -> int:
    return tensor.own.size if isinstance(tensor, Rows) else tensor.size


def tally(fates: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Counts of tensors and weights by what became of them."""
    result: dict[str, Any] = {}
    left_out: dict[str, dict[str, int]] = {}
    order = ("merged", "converted", "copied")
    for weights_of in fates.values():
        main = next((fate for fate in order if weights_of.get(fate)), next(iter(weights_of)))
        for fate, weights in weights_of.items():
            counts = (result if fate in order else left_out).setdefault(fate, {"tensors": 0, "weights": 0})
            counts["tensors"] += fate == main
            counts["weights"] += weights
    return {**{fate: result[fate] for fate in order if fate in result}, **({"left_out": left_out} if left_out else {})}


def total(counts: Mapping[str, Any]) -> tuple[int, int]:
    """The tensors and the weights of one model's counts."""
    every: Sequence[Mapping[str, int]] = [
        *(value for key, value in counts.items() if key != "left_out"),
        *counts.get("left_out", {}).values(),
    ]
    return sum(each["tensors"] for each in every), sum(each["weights"] for each in every)
