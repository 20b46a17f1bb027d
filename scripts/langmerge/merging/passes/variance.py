"""Selection of the weights in which task vectors differ most (SCE): a threshold on their variance.

Shapes: `C` weights of a chunk, `M` models without the base.

The bits of a variance, read as an integer, have the order of the variances. So counting the upper
halves of all of them, and then the lower halves of those with the threshold's upper half, finds it
without sorting.
"""

from __future__ import annotations

import math
from threading import Lock

import numpy as np

from langmerge.merging.expressions import task_vectors
from langmerge.merging.passes.base import Draw, Pass, Preparation
from langmerge.merging.passes.products import products
from langmerge.merging.registry import NotNegative, Share
from langmerge.merging.tensors import Array, Chunk, TensorInfo


class VarianceSelection(Preparation):
    """The task vectors where their variance over the models is among the largest, 0 elsewhere; and
    each model's share of their squares.

    Selected are int(select_topk n) weights of the tensor, n being the number of those whose
    variance is not 0; of equal variances, the lowest indices. With `select_topk` 1 all are. Where
    the mean square of a tensor's task vectors, summed over the models, is less than `floor`, the
    models have equal shares.

    Attributes:
        threshold: bits of the lowest variance that is selected.
        equal: for each chunk, how many weights with that variance are selected; empty: all.
        weight: (M,) the shares.
    """

    passes = "one; with `select_topk` < 1 three, or four where equal variances must be divided"

    def __init__(self, tensor: TensorInfo, draw: Draw, *, select_topk: Share = 1.0, floor: NotNegative = 0.0) -> None:
        super().__init__(tensor, draw)
        self.select_topk, self.floor = select_topk, floor
        self.threshold = 0
        self.equal: list[int] = []
        self.weight: list[float] = []

    def first_pass(self) -> Pass | None:
        return UpperHalves(self) if self.select_topk < 1 else Squares(self)

    def select(self, chunk: Chunk, base: Array, models: Array) -> Array:
        """The selected task vectors of a chunk, (M, C) fp32."""
        tau = task_vectors(base, models)
        if self.select_topk < 1:
            keys = variances(tau)
            selected = keys >= self.threshold
            if self.equal:
                selected[np.flatnonzero(keys == self.threshold)[self.equal[chunk.index] :]] = False
            tau *= selected
        return tau

    def for_chunk(self, chunk: Chunk, base: Array, models: Array) -> tuple[Array, list[float]]:
        return self.select(chunk, base, models), self.weight


# ---- the passes


class Halves(Pass):
    """Counts the values of a half of the variances' bits.

    Attributes:
        histogram: (2^16,) filled in by the scans.
    """

    def __init__(self, selection: VarianceSelection) -> None:
        self.selection = selection
        self.histogram = np.zeros(2**16, np.int64)
        self.lock = Lock()

    def half(self, keys: Array) -> Array:
        """The half of each variance's bits (C,) that is counted."""
        raise NotImplementedError

    def scan(self, chunk: Chunk, base: Array, models: Array) -> int:
        """Returns how many variances are not 0."""
        keys = variances(task_vectors(base, models))
        histogram = np.bincount(self.half(keys), minlength=2**16)
        with self.lock:
            self.histogram += histogram
        return np.count_nonzero(keys)

    def value_of(self, wanted: int) -> tuple[int, int]:
        """The value with which `wanted` weights are reached, counted from the largest one, and how
        many of the weights with that value belong to them."""
        cumulative = np.cumsum(self.histogram[::-1])
        reached = int(np.searchsorted(cumulative, wanted))
        value = self.histogram.size - 1 - reached
        return value, wanted - int(cumulative[reached] - self.histogram[value])


class UpperHalves(Halves):
    """Finds the threshold's upper half."""

    def half(self, keys: Array) -> Array:
        return keys >> 16

    def finish(self, scans: list[int]) -> Pass:
        wanted = int(sum(scans) * self.selection.select_topk)
        if not wanted:
            self.selection.threshold = 2**32  # nothing is selected
            return Squares(self.selection)
        value, wanted = self.value_of(wanted)
        self.selection.threshold = value << 16
        return LowerHalves(self.selection, wanted)


class LowerHalves(Halves):
    """Finds the threshold's lower half; `wanted` weights with its upper half are selected."""

    def __init__(self, selection: VarianceSelection, wanted: int) -> None:
        super().__init__(selection)
        self.wanted = wanted

    def half(self, keys: Array) -> Array:
        return keys[keys >> 16 == self.selection.threshold >> 16] & 0xFFFF

    def finish(self, scans: list[int]) -> Pass:
        value, wanted = self.value_of(self.wanted)
        self.selection.threshold |= value
        if wanted < self.histogram[value]:
            return EqualVariances(self.selection, wanted)
        return Squares(self.selection)


class EqualVariances(Pass):
    """Counts the weights at the threshold chunk by chunk, because only the first `wanted` of them
    are selected."""

    def __init__(self, selection: VarianceSelection, wanted: int) -> None:
        self.selection, self.wanted = selection, wanted

    def scan(self, chunk: Chunk, base: Array, models: Array) -> int:
        return np.count_nonzero(variances(task_vectors(base, models)) == self.selection.threshold)

    def finish(self, scans: list[int]) -> Pass:
        left = self.wanted
        for count in scans:
            self.selection.equal.append(min(count, left))
            left -= self.selection.equal[-1]
        return Squares(self.selection)


class Squares(Pass):
    """Adds up the squares of the selected task vectors, from which the models' shares follow."""

    def __init__(self, selection: VarianceSelection) -> None:
        self.selection = selection

    def scan(self, chunk: Chunk, base: Array, models: Array) -> Array:
        tau = self.selection.select(chunk, base, models)
        return products(None, tau.view(np.uint32)).diagonal()

    def finish(self, scans: list[Array]) -> None:
        squares = [math.fsum(terms) for terms in zip(*scans, strict=True)]
        total = math.fsum(squares)
        small = total <= 0 or total / self.selection.tensor.size < self.selection.floor
        self.selection.weight = [1 / len(squares) if small else square / total for square in squares]


def variances(tau: Array) -> Array:
    """The bits of each weight's variance over the models, (C,) uint32, rounded from fp64."""
    with np.errstate(invalid="ignore", over="ignore"):
        return tau.var(axis=0, dtype=np.float64).astype(np.float32).view(np.uint32)
