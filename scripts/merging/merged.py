"""What an equation says of merged weights: how they follow from stored ones. The compiled kernels carry it out.

Weights come as their bits, so that no fp32 copy of them need ever be in memory: uint16 those of bf16, uint32 those of fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import ml_dtypes
import numpy as np

from merging.lazy import kernels
from merging.registry import divisor
from merging.survey import Array

BF16 = np.dtype(ml_dtypes.bfloat16)
NO_BITS = {np.dtype(kind): np.empty(0, kind) for kind in (np.uint16, np.uint32)}


@dataclass
class Kept:
    """What is set to 0 in each model's task vector: keys (see ranks.py) out of [low, high), then what is not in the mask; the rest times factor."""

    flips: Array = field(default_factory=lambda: np.empty(0, np.uint32))
    lows: Array = field(default_factory=lambda: np.empty(0, np.uint32))
    highs: Array = field(default_factory=lambda: np.empty(0, np.uint32))
    masks: Array = field(default_factory=lambda: np.empty((0, 0), np.uint8))
    factors: Array = field(default_factory=lambda: np.empty(0, np.float32))


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
    weight by weight; a sum of 0 counts as positive, and an x_i of 0 agrees with neither sign.
    """

    models: Array
    weight: Sequence[float]
    base: Array | None = None
    lambda_: float = 1.0
    normalize: bool = False
    elect: bool = False
    kept: Kept = field(default_factory=Kept)

    def write(self, bits: Array) -> int:
        kept = self.kept
        return kernels.combine(
            NO_BITS[self.models.dtype] if self.base is None else self.base,
            self.models,
            shift(self.models),
            (kept.flips, kept.lows, kept.highs, kept.masks, kept.factors),
            np.array(self.weight, np.float32),
            np.float32(divisor(self.weight) if self.normalize and not self.elect else 1),
            self.elect,
            self.normalize,
            np.float32(self.lambda_),
            bits,
            shift(bits),
        )


@dataclass
class Nearswap:
    """theta_b + clamp(t / max(|tau|, 1e-6), 0, 1) tau"""

    base: Array
    other: Array
    t: float

    def write(self, bits: Array) -> int:
        return kernels.nearswap(self.base, self.other, shift(self.base), np.float32(self.t), bits, shift(bits))


@dataclass
class Copy:
    """theta, the bits of one model's weights."""

    bits: Array

    def write(self, bits: Array) -> int:
        """Round them to the type of `bits`, as merged weights are."""
        wide = self.bits.astype(np.uint32) << shift(self.bits)
        if kernels.narrow(wide, np.uint32(0), wide) >= kernels.NOT_FINITE:
            return 0
        return 1 if kernels.narrow(wide, shift(bits), bits) >= kernels.NOT_FINITE else -1


@dataclass
class Values:
    """Weights that numpy has worked out, in fp32, from those given as `sources`."""

    values: Array
    sources: Sequence[Array]

    def write(self, bits: Array) -> int:
        for index, source in enumerate(self.sources):
            if not np.isfinite(source).all():
                return index
        return len(self.sources) if kernels.narrow(self.values.view(np.uint32), shift(bits), bits) >= kernels.NOT_FINITE else -1


def shift(bits: Array) -> np.uint32:
    """By how much stored bits must be moved to be fp32's."""
    return np.uint32(16 if bits.dtype == np.uint16 else 0)


def fp32(bits: Array) -> Array:
    """The values of stored bits."""
    return (bits.astype(np.uint32) << shift(bits)).view(np.float32)


def to_bits(stored: Array) -> Array:
    """The bits of bf16 or fp32 weights."""
    return stored.view(np.uint16 if stored.dtype == BF16 else np.uint32)
