"""Surveys of how a tensor's models lie to one another, and of where in the model it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.lazy import kernels
from langmerge.merging.merged import fp32
from langmerge.merging.registry import Count, NotNegative, Share
from langmerge.merging.survey import Array, Draw, Part, Place, Survey

# ---- where it is


class Matrix(Survey):
    """The shape of a layer's matrix, which is then in memory as a whole; None for all else, embeddings and head included."""

    @property
    def unit(self) -> str:
        return "weight" if self.place.layer is None or len(self.place.shape) != 2 else "tensor"

    def of(self, part: Part, base: Array, models: Array) -> tuple[int, ...] | None:
        return self.place.shape if self.unit == "tensor" else None


class Swapped(Survey):
    """The share of the other model where the outer layers are swapped: 1 in them, 0 in the inner ones, a half in the transition.

    What lies outside the layers goes with those beside it: embeddings with the bottom ones, the final norm and the head with the top ones.
    """

    def __init__(self, place: Place, draw: Draw, *, bottom: Count = 5, top: Count = 2, transition: Count = 1) -> None:
        super().__init__(place, draw)
        self.swapped = bottom, top
        # What is not swapped at one end has no border there.
        self.bounds = [
            bottom,
            bottom + transition * (bottom > 0),
            place.layers - top - transition * (top > 0),
            place.layers - top,
        ]
        if any(low > high for low, high in pairwise(self.bounds)):
            raise UserError(
                f"layer_swap with bottom {bottom}, top {top} and transition {transition} (at each inner border) needs "
                f"{bottom + top + transition * ((bottom > 0) + (top > 0))} layers or more; the model has {place.layers}. "
                f"Lower them under `parameters`."
            )

    def of(self, part: Part, base: Array, models: Array) -> float:
        layer = self.place.layer
        if layer is None:
            bottom, top = self.swapped
            return float((bottom if self.place.is_embedding else top) > 0)
        first, inner, outer, last = self.bounds
        return 0.0 if inner <= layer < outer else 0.5 if first <= layer < last else 1.0


# ---- products


class Products(Survey):
    """The products of every two task vectors, summed over the tensor."""

    passes = 1

    def __init__(self, place: Place, draw: Draw) -> None:
        super().__init__(place, draw)
        self.products = np.zeros((0, 0))

    def look(self, number: int, part: Part, base: Array | None, models: Sequence[Array]) -> Array:
        found = np.zeros((len(models), len(models)))
        kernels.products(base, tuple(models), found)
        return found

    def conclude(self, number: int, found: list[Array]) -> None:
        if found:
            # Exactly rounded sums, so that no order of adding up can show.
            self.products = np.array(
                [[math.fsum(each) for each in zip(*row, strict=True)] for row in zip(*found, strict=True)]
            )


class Cosine(Products):
    """The cosine between the base and the other model, flattened; 0 if one is all zeros: it has no direction."""

    def look(self, number: int, part: Part, base: Array, models: Array) -> Array:
        return super().look(number, part, None, [base, models[0]])

    def of(self, part: Part, base: Array, models: Array) -> float:
        (square, product), (_, other) = self.products
        return product / math.sqrt(square * other) if square and other else 0.0


class Edges(Cosine):
    """How much of the base is to be on the arc between it and the other model, and their cosine, which only the edges' layers need.

    That is `t_outer` in the first and the last layer, `t_inner` in those beside them, all in the others and in the final norm, nothing in
    embeddings and head: the matrices outside the layers, with a row a token.
    """

    def __init__(self, place: Place, draw: Draw, *, t_outer: Share = 0.3, t_inner: Share = 0.5) -> None:
        super().__init__(place, draw)
        self.share = 0.0 if place.layer is None and len(place.shape) == 2 else 1.0
        if place.layer is not None:
            self.share = {0: t_outer, 1: t_inner}.get(min(place.layer, place.layers - 1 - place.layer), 1.0)
        self.passes = int(0 < self.share < 1)

    def of(self, part: Part, base: Array, models: Array) -> tuple[float, float]:
        return self.share, super().of(part, base, models) if self.passes else 1.0


class Energies(Products):
    """||tau_i||^2 of each task vector, over the whole model."""

    whole_model = True

    def of(self, part: Part, base: Array, models: Array) -> list[float]:
        return self.products.diagonal().tolist()


# ---- variance


class Selected(Survey):
    """The task vectors where their variance over the models is among the largest, 0 elsewhere; and each model's share of their squares.

    Selected are int(select_topk n) weights of the tensor, n being those whose variance is not 0; of equal variances, those with the
    lowest index. With `select_topk` 1, all are. Where the mean square of a tensor's task vectors, summed over the models, is less than
    `floor`, the models have equal shares.

    The bits of a variance are ordered as variances are, so that counting their upper halves and then the lower ones of those at the cut
    finds it without sorting.
    """

    def __init__(self, place: Place, draw: Draw, *, select_topk: Share = 1.0, floor: NotNegative = 0.0) -> None:
        super().__init__(place, draw)
        self.select_topk, self.floor = select_topk, floor
        self.steps = ["upper", "lower", "squares"] if select_topk < 1 else ["squares"]
        self.lock = Lock()
        self.table = np.zeros(2**16, np.int64)
        self.wanted = 0
        self.cut = 0  # the least variance's bits that are selected
        self.equal: list[int] = []  # of each part, how many of its weights at the cut are; none: all
        self.weight: list[float] = []

    @property
    def passes(self) -> int:
        return len(self.steps)

    def look(self, number: int, part: Part, base: Array, models: Array) -> Any:
        if self.steps[number] == "squares":
            tau = self.select(part, base, models)
            found = np.zeros((len(tau), len(tau)))
            kernels.products(None, tuple(tau.view(np.uint32)), found)
            return found.diagonal()
        keys = variances(task_vectors(base, models))
        if self.steps[number] == "equal":
            return np.count_nonzero(keys == self.cut)
        digits = keys >> 16 if self.steps[number] == "upper" else keys[keys >> 16 == self.cut >> 16] & 0xFFFF
        table = np.bincount(digits, minlength=2**16)
        with self.lock:
            self.table += table
        return np.count_nonzero(keys)

    def conclude(self, number: int, found: list[Any]) -> None:
        step = self.steps[number]
        if step == "squares":
            squares = [math.fsum(each) for each in zip(*found, strict=True)]
            total = math.fsum(squares)
            small = total <= 0 or total / self.place.size < self.floor
            self.weight = [1 / len(squares) if small else each / total for each in squares]
        elif step == "equal":
            for count in found:
                self.equal.append(min(count, self.wanted))
                self.wanted -= self.equal[-1]
        elif step == "upper":
            self.wanted = int(sum(found) * self.select_topk)
            if self.wanted:
                self.cut = self.largest() << 16
            else:
                self.cut = 2**32
                self.steps.remove("lower")
        else:
            digit = self.largest()
            self.cut |= digit
            if self.wanted < self.table[digit]:
                self.steps.insert(number + 1, "equal")
        if step == "upper":
            self.table = np.zeros_like(self.table)

    def largest(self) -> int:
        """The digit of the table at which the wanted number, counted from the largest one on, is reached; it becomes that within the digit."""
        counted = np.cumsum(self.table[::-1])
        place = int(np.searchsorted(counted, self.wanted))
        digit = self.table.size - 1 - place
        self.wanted -= int(counted[place] - self.table[digit])
        return digit

    def select(self, part: Part, base: Array, models: Array) -> Array:
        tau = task_vectors(base, models)
        if self.select_topk < 1:
            keys = variances(tau)
            chosen = keys >= self.cut
            if self.equal:
                chosen[np.flatnonzero(keys == self.cut)[self.equal[part.index] :]] = False
            tau *= chosen
        return tau

    def of(self, part: Part, base: Array, models: Array) -> tuple[Array, list[float]]:
        return self.select(part, base, models), self.weight


def task_vectors(base: Array, models: Array) -> Array:
    """fp32, a row a model. Without a warning of infinities: they are an error later."""
    with np.errstate(invalid="ignore", over="ignore"):
        return fp32(models) - fp32(base)


def variances(tau: Array) -> Array:
    """The bits of the variance of each weight over the models, rounded from fp64."""
    with np.errstate(invalid="ignore", over="ignore"):
        return tau.var(axis=0, dtype=np.float64).astype(np.float32).view(np.uint32)
