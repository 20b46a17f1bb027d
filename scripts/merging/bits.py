"""Between the stored types and fp32, in which everything is computed."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np

from merging.compiled import compiled
from merging.survey import Array

BF16 = np.dtype(ml_dtypes.bfloat16)
NOT_FINITE = 0x7F800000
"""Exponent bits of an fp32 infinity or NaN; the upper half of it are those of a bf16 one."""


def to_fp32(stored: Sequence[Array], values: Array) -> int | None:
    """Convert weights of any types into the rows of `values`, which are fp32; return the first row with NaN or infinity."""
    if isinstance(stored, np.ndarray):
        widen_rows(stored, values.view(np.uint32))
    else:
        for given, row in zip(stored, values, strict=True):
            if given.dtype == BF16:
                widen_rows(given.view(np.uint16)[None], row.view(np.uint32)[None])
            else:
                row[:] = given
    row = first_not_finite(values.view(np.uint32))
    return None if row < 0 else row


def from_fp32(values: Array, stored: Array) -> bool:
    """Round to the nearest even values of `stored`'s type, into it; return whether all are finite."""
    if stored.dtype == BF16:
        return narrow(values.view(np.uint32), stored.view(np.uint16)) < NOT_FINITE >> 16
    with np.errstate(over="ignore"):
        stored[:] = values
    return largest_exponent(values.view(np.uint32)) < NOT_FINITE and (stored.dtype == np.float32 or bool(np.isfinite(stored).all()))


@compiled
def widen_rows(bf16, fp32):
    """Bits to bits."""
    for row in range(bf16.shape[0]):
        for i in range(bf16.shape[1]):
            fp32[row, i] = np.uint32(bf16[row, i]) << np.uint32(16)


@compiled
def first_not_finite(fp32):
    """The first row of bits that has an infinity or NaN, -1 if there is none."""
    for row in range(fp32.shape[0]):
        largest = np.uint32(0)
        for i in range(fp32.shape[1]):
            largest = max(largest, fp32[row, i] & np.uint32(0x7F800000))
        if largest == np.uint32(0x7F800000):
            return row
    return -1


@compiled
def narrow(fp32, bf16):
    """Bits to bits, rounded to nearest even; returns the largest exponent's. Infinity stays what it is, and NaN may become it."""
    largest = np.uint16(0)
    for i in range(fp32.size):
        even = (fp32[i] >> np.uint32(16)) & np.uint32(1)
        bf16[i] = (fp32[i] + np.uint32(0x7FFF) + even) >> np.uint32(16)
        largest = max(largest, bf16[i] & np.uint16(0x7F80))
    return largest


@compiled
def largest_exponent(fp32):
    largest = np.uint32(0)
    for i in range(fp32.size):
        largest = max(largest, fp32[i] & np.uint32(0x7F800000))
    return largest
