"""What an equation returns: an expression for merged weights, which a compiled kernel evaluates.

Shapes: `C` weights of a chunk, `M` models without the base.

Weights come as bits, uint16 for bf16 and uint32 for fp32, so that no fp32 copy of them need be in
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import ml_dtypes
import numpy as np

from langmerge.merging.lazy import kernels
from langmerge.merging.registry import divisor
from langmerge.merging.tensors import Array

BF16 = np.dtype(ml_dtypes.bfloat16)
EVERY_KEY = 0, 2**31
NO_MASK = np.empty(0, bool)


@dataclass
class Pruning:
    """Which weights of each task vector are set to 0, and how the others are rescaled.

    Attributes:
        factors: (M,) what is kept of each model is multiplied by.
        key_ranges: for each model, the lowest magnitude that is kept, as bits, and how many values
            from there on; None: all.
        masks: for each model, (C,) bool, the weights that are kept; or (C,) uint16, what each
            weight is divided by, 0 for weights that are not kept; None: all.
    """

    factors: Sequence[float]
    key_ranges: Sequence[tuple[int, int]] | None = None
    masks: Sequence[Array] | None = None


class Expression(Protocol):
    """Merged weights, not yet computed."""

    def evaluate(self, out: Array) -> int:
        """Compute the weights, round them to the type of `out`, bits (C,), and fill it.

        Returns:
            -1 if all is well; the index of the first source (0 for the base, if there is one) with
            a weight that is not finite; or the number of sources if a merged weight is not.
        """


@dataclass
class WeightedSum:
    """theta_b + lambda S(P(tau_1), ..., P(tau_M)) or, without a base, S(theta_1, ..., theta_M).

    S is sum_i w_i x_i, divided by sum_i w_i with `normalize`. With `elect`, the sums have only
    those terms that have the sign of sum_i w_i x_i, weight by weight; a sum of 0 counts as
    positive, and an x_i of 0 has neither sign. P is `pruning`; None keeps everything.
    """

    models: Sequence[Array]
    weight: Sequence[float]
    base: Array | None = None
    lambda_: float = 1.0
    normalize: bool = False
    elect: bool = False
    pruning: Pruning | None = None

    def evaluate(self, out: Array) -> int:
        pruning = self.pruning or Pruning([1.0] * len(self.models))
        key_ranges = pruning.key_ranges or [EVERY_KEY] * len(self.models)
        masks = pruning.masks or [NO_MASK] * len(self.models)
        models = tuple(
            (bits, np.float32(weight), np.float32(factor), np.uint32(low), np.uint32(span), mask)
            for bits, weight, factor, (low, span), mask in zip(
                self.models, self.weight, pruning.factors, key_ranges, masks, strict=True
            )
        )
        # To a kernel, anything but None means that there are key ranges or masks.
        sources = self.base, models, pruning.key_ranges and True, pruning.masks and True
        scale = np.float32(self.lambda_)
        if self.elect:
            largest = kernels.elect(*sources, self.normalize, scale, out)
        else:
            total = np.float32(divisor(self.weight)) if self.normalize else None
            largest = kernels.combine(*sources, total, scale, out)
        return first_not_finite(largest, [*([] if self.base is None else [self.base]), *self.models])


@dataclass
class Nearswap:
    """theta_b + clamp(t / max(|tau|, 1e-6), 0, 1) tau"""

    base: Array
    other: Array
    t: float

    def evaluate(self, out: Array) -> int:
        largest = kernels.nearswap(self.base, self.other, np.float32(self.t), out)
        return first_not_finite(largest, [self.base, self.other])


@dataclass
class Copy:
    """theta, the bits of one model's weights."""

    bits: Array

    def evaluate(self, out: Array) -> int:
        return first_not_finite(kernels.convert(self.bits, out), [self.bits])


@dataclass
class Values:
    """fp32 weights (C,) that numpy has computed from the bits of `sources`."""

    values: Array
    sources: Sequence[Array]

    def evaluate(self, out: Array) -> int:
        largest = max(map(kernels.largest, self.sources)), kernels.convert(self.values.view(np.uint32), out)[1]
        return first_not_finite(largest, self.sources)


def first_not_finite(largest: tuple[int, int], sources: Sequence[Array]) -> int:
    """What `evaluate` returns, from the bits of the largest magnitudes in sources and result."""
    of_sources, of_result = largest
    if of_sources >= kernels.NOT_FINITE:
        return next(index for index, bits in enumerate(sources) if kernels.largest(bits) >= kernels.NOT_FINITE)
    return len(sources) if of_result >= kernels.NOT_FINITE else -1


def fp32(bits: Array) -> Array:
    """The values of stored bits."""
    return (bits.astype(np.uint32) << np.uint32(16 if bits.dtype == np.uint16 else 0)).view(np.float32)


def task_vectors(base: Array, models: Array) -> Array:
    """Task vectors in fp32, (M, C), from bits (C,) and (M, C). No warning of infinities: they are
    an error later."""
    with np.errstate(invalid="ignore", over="ignore"):
        return fp32(models) - fp32(base)


def to_bits(stored: Array) -> Array:
    """The bits of bf16 or fp32 weights."""
    return stored.view(np.uint16 if stored.dtype == BF16 else np.uint32)
