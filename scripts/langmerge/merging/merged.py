"""What an equation says of merged weights: how they follow from stored ones. The compiled kernels carry it out.

Weights come as their bits, so that no fp32 copy of them need ever be in memory: uint16 those of bf16, uint32 those of fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import ml_dtypes
import numpy as np

from langmerge.merging.lazy import kernels
from langmerge.merging.registry import divisor
from langmerge.merging.survey import Array

BF16 = np.dtype(ml_dtypes.bfloat16)
EVERY_KEY = 0, 2**31
NO_CHOICE = np.empty(0, bool)


@dataclass
class Kept:
    """What is not set to 0 in each model's task vector, and by what it is multiplied then.

    Attributes:
        factors: a model's.
        ranges: of each model, the least magnitude's bits that are kept and how many from there on are; None: all.
        chosen: of each model, a boolean mask of the weights that are kept; or uint16, by what each weight is divided, 0 for those that are
            not kept; None: all.
    """

    factors: Sequence[float]
    ranges: Sequence[tuple[int, int]] | None = None
    chosen: Sequence[Array] | None = None


class Merged(Protocol):
    """Merged weights."""

    def write(self, bits: Array) -> int:
        """Round them to the type of `bits`, and fill it.

        Returns -1; or the first source (the base being 0) with a weight that is not finite; or their number if a merged weight is not.
        """


@dataclass
class Combination:
    """theta_b + lambda C(K(tau_1), ...), or, without a base, C(theta_1, ...).

    C is sum_i w_i x_i, over sum_i w_i with `normalize`. With `elect`, only those w_i x_i take part that have the sign of the sum of all,
    weight by weight; a sum of 0 counts as positive, and an x_i of 0 agrees with neither sign. K is `kept`; None keeps everything.
    """

    models: Sequence[Array]
    weight: Sequence[float]
    base: Array | None = None
    lambda_: float = 1.0
    normalize: bool = False
    elect: bool = False
    kept: Kept | None = None

    def write(self, bits: Array) -> int:
        kept = self.kept or Kept([1.0] * len(self.models))
        ranges = kept.ranges or [EVERY_KEY] * len(self.models)
        chosen = kept.chosen or [NO_CHOICE] * len(self.models)
        models = tuple(
            (bits, np.float32(weight), np.float32(factor), np.uint32(low), np.uint32(span), mask)
            for bits, weight, factor, (low, span), mask in zip(
                self.models, self.weight, kept.factors, ranges, chosen, strict=True
            )
        )
        # Anything but None says that there is something to look at.
        what = self.base, models, kept.ranges and True, kept.chosen and True
        move = np.float32(self.lambda_)
        if self.elect:
            extremes = kernels.elect(*what, self.normalize, move, bits)
        else:
            extremes = kernels.combine(*what, np.float32(divisor(self.weight)) if self.normalize else None, move, bits)
        return first_not_finite(extremes, [*([] if self.base is None else [self.base]), *self.models])


@dataclass
class Nearswap:
    """theta_b + clamp(t / max(|tau|, 1e-6), 0, 1) tau"""

    base: Array
    other: Array
    t: float

    def write(self, bits: Array) -> int:
        return first_not_finite(
            kernels.nearswap(self.base, self.other, np.float32(self.t), bits), [self.base, self.other]
        )


@dataclass
class Copy:
    """theta, the bits of one model's weights."""

    bits: Array

    def write(self, bits: Array) -> int:
        """Round them to the type of `bits`, as merged weights are."""
        return first_not_finite(kernels.convert(self.bits, bits), [self.bits])


@dataclass
class Values:
    """Weights that numpy has worked out, in fp32, from the stored ones of `sources`."""

    values: Array
    sources: Sequence[Array]

    def write(self, bits: Array) -> int:
        extremes = max(map(kernels.largest, self.sources)), kernels.convert(self.values.view(np.uint32), bits)[1]
        return first_not_finite(extremes, self.sources)


def first_not_finite(extremes: tuple[int, int], sources: Sequence[Array]) -> int:
    """What `Merged.write` returns, from the largest magnitudes' bits of the sources and of the result."""
    largest, result = extremes
    if largest >= kernels.NOT_FINITE:
        return next(index for index, bits in enumerate(sources) if kernels.largest(bits) >= kernels.NOT_FINITE)
    return len(sources) if result >= kernels.NOT_FINITE else -1


def fp32(bits: Array) -> Array:
    """The values of stored bits."""
    return (bits.astype(np.uint32) << np.uint32(16 if bits.dtype == np.uint16 else 0)).view(np.float32)


def to_bits(stored: Array) -> Array:
    """The bits of bf16 or fp32 weights."""
    return stored.view(np.uint16 if stored.dtype == BF16 else np.uint32)
