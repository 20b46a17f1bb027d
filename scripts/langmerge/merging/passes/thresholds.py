"""Exact order statistics of a task vector's magnitudes, found chunk by chunk in little memory.

Shapes: `C` weights of a chunk, `M` models, `W` windows of `L` weights in a sample, `U` undecided
weights.

The bits of a non-negative float, read as an integer, have the order of the floats; such an integer
is called a key here. Differences of bf16 weights are often equal, and equal keys are ordered by the
index of their weight.

A sample tells roughly where the wanted rank is: a range of keys and, for the keys at its ends, of
indices. One pass over the tensor then counts the weights before that range and collects those in
it, a few percent; the wanted one is among them. If it is not, because the sample misled, the upper
halves of all keys are counted, and another such pass follows. Sorting would need the whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langmerge.merging.lazy import kernels
from langmerge.merging.tensors import Array, Chunk

DESCENDING = 0x7FFFFFFF
"""The exclusive-or of a key with it reverses the order."""
WINDOWS, WINDOW = 128, 1024
"""A sample has at least this many windows of this many weights."""
DEVIATIONS = 3.5
"""How many standard errors the sample's estimate of a rank is trusted to. The error is estimated
from the windows, because the rows of a tensor differ from each other."""
MIN_MARGIN = 0.0005
"""Smallest error of that estimate that is assumed, as a share of the weights."""
UPPER_KEYS = 2**16
"""Values of the upper 16 of a key's 31 bits."""


def keys_of(base: Array, model: Array, flip: int) -> Array:
    """The keys of a task vector, (C,) uint32, from bits (C,). `flip`: 0 for smallest first, or
    DESCENDING."""
    keys = np.empty(model.size, np.uint32)
    kernels.fill_keys(base, model, np.uint32(flip), keys)
    return keys


def upper_histogram(keys: Array) -> Array:
    """How many keys have each value of the upper 16 bits, (UPPER_KEYS,)."""
    histogram = np.zeros(UPPER_KEYS, np.int64)
    kernels.count_upper(keys, histogram)
    return histogram


@dataclass(frozen=True)
class SearchRange:
    """Where a threshold is expected: between `first` and `last`, each a key and a weight's index.

    Attributes:
        share: of the tensor's weights, how many are in the range.
    """

    first: tuple[int, int]
    last: tuple[int, int]
    share: float

    def keys_in(self, chunk: Chunk) -> tuple[int, int]:
        """The lowest key to search for in a chunk, and how many keys from there on."""
        (first, begin), (last, end) = self.first, self.last
        low = first + (chunk.start + chunk.size <= begin)
        return low, max(last + (chunk.start < end) - low, 0)

    def keys_among(self, chunk: Chunk, keys: Array) -> Array:
        """Those of a chunk's keys that are in the range."""
        low, span = self.keys_in(chunk)
        return keys[keys - np.uint32(low) < span]


class Threshold:
    """Separates the first `rank` weights of a tensor by magnitude from the rest.

    Of equal magnitudes, the lowest indices come first.

    Attributes:
        search: where it is expected.
        key, chunk, count: where it is. Of the weights with that key, those in chunks before the
            `chunk`-th are before the threshold, and the first `count` in that chunk.
    """

    search: SearchRange

    def __init__(self, rank: int, flip: int = 0) -> None:
        """`flip`: 0 for smallest first, DESCENDING for largest first."""
        self.rank, self.flip = rank, flip

    def range_from_histogram(self, histogram: Array, size: int) -> SearchRange:
        """Where to search in a tensor of `size` weights with this `upper_histogram`."""
        upper = min(int(np.searchsorted(np.cumsum(histogram), self.rank)), UPPER_KEYS - 1)
        return SearchRange((upper << 15, 0), ((upper + 1 << 15) - 1, size), histogram[upper] / size)

    def range_from_sample(self, sample: Array, size: int) -> SearchRange:
        """Where to search in a tensor of `size` weights, from the keys of a sample, (W, L).

        The tensor is thought of as W equal stretches; each window is from somewhere in its stretch.
        """
        keys, (windows, length) = sample.ravel(), sample.shape
        histogram = upper_histogram(keys)
        cumulative = np.cumsum(histogram)

        def position(rank: int) -> int:
            """Index in the sample of the key with this rank."""
            upper = int(np.searchsorted(cumulative, rank, side="right"))
            near = np.flatnonzero(keys >> np.uint32(15) == upper)
            return int(near[np.argsort(keys[near], kind="stable")[rank - int(cumulative[upper] - histogram[upper])]])

        rank = int(self.rank / size * keys.size)
        middle = position(min(rank, keys.size - 1))
        before = (
            np.concatenate([keys[:middle] <= keys[middle], keys[middle:] < keys[middle]])
            .reshape(sample.shape)
            .sum(axis=1)
        )
        # Neighbouring windows are compared, on either side of the threshold: only in windows before
        # it are weights with the threshold's key before the threshold.
        window = middle // length
        error = (
            np.square(np.concatenate([np.diff(before[:window]), np.diff(before[window + 1 :])])).mean() / 2 * windows
        ) ** 0.5
        margin = int(max(DEVIATIONS * error, MIN_MARGIN * keys.size)) + 1
        low, high = rank - margin, rank + margin
        first, last = (0, 0), (DESCENDING, size)
        if low > 0:
            index = position(low)
            first = int(keys[index]), (size - length) * (index // length) // windows
        if high < keys.size:
            index = position(high)
            last = int(keys[index]), (size - length) * (index // length + 1) // windows + length
        return SearchRange(first, last, (min(high, keys.size) - max(low, 0)) / keys.size)

    def settle(self, below: int, collected: Sequence[tuple[Array, Array | None]]) -> bool:
        """Find the threshold; return whether it was in the range where it was expected.

        Args:
            below: how many weights of the tensor come before that range.
            collected: for each chunk, its keys in that range, and how often each occurs (None: once
                each).
        """
        ends = np.cumsum([keys.size for keys, _ in collected])
        keys, counts = (
            None if column[0] is None else np.concatenate(column) for column in zip(*collected, strict=True)
        )
        first, last = self.search.first[0], self.search.last[0]
        left, key, span = self.rank - below, first, last + 1 - first
        if not min(self.rank, 1) <= left <= (keys.size if counts is None else counts.sum()):
            return False
        while span > 1:
            # A few thousand bins at a time, which fit in a core's first-level cache.
            step = max((span - 1).bit_length() - 12, 0)
            histogram = np.zeros((span - 1 >> step) + 2, np.int64)
            kernels.tally(keys, counts, np.uint32(key), np.uint32(span), np.uint32(step), histogram)
            cumulative = np.cumsum(histogram[:-1])
            digit = int(np.searchsorted(cumulative, left))
            left -= int(cumulative[digit] - histogram[digit])
            key, span = key + (digit << step), min(1 << step, span - (digit << step))
        # Of the weights with this key, the first `left` are before the threshold.
        equal = np.flatnonzero(keys == key)
        amounts = np.arange(1, equal.size + 1) if counts is None else np.cumsum(counts[equal])
        last = np.searchsorted(amounts, left)
        self.key, self.chunk, self.count = key, 0, 0
        if left:
            self.chunk = int(np.searchsorted(ends, equal[last], side="right"))
            earlier = np.searchsorted(equal, ends[self.chunk - 1]) if self.chunk else 0
            self.count = left - int(amounts[earlier - 1] if earlier else 0)
        return True

    def bound(self, chunk: Chunk) -> int | None:
        """The key from which on a chunk's weights are after the threshold.

        None in the one chunk where some weights with the threshold's key are before it and some are
        not.
        """
        return None if chunk.index == self.chunk else self.key + (chunk.index < self.chunk)

    def before(self, chunk: Chunk, keys: Array) -> Array:
        """Mask of a chunk's weights that are before the threshold, (C,) bool."""
        bound = self.bound(chunk)
        return self.divide(keys, 0, keys.size) if bound is None else keys < bound

    def divide(self, keys: Array, begin: int, end: int) -> Array:
        """Mask of the weights with these keys that are before the threshold, (U,) bool.

        The weights are in the tensor's order; `begin` to `end` are those in the chunk that the
        threshold divides.
        """
        equal = begin + np.flatnonzero(keys[begin:end] == self.key)[: self.count]
        split = equal[-1] + 1 if equal.size else begin
        mask = np.empty(keys.size, bool)
        np.less_equal(keys[:split], self.key, out=mask[:split])
        np.less(keys[split:], self.key, out=mask[split:])
        return mask


def collect(
    searches: Sequence[tuple[Array, Sequence[Threshold]]], chunk: Chunk, base: Array, models: Array
) -> tuple[Array, Array, Array]:
    """Search a chunk for the weights near thresholds.

    Args:
        searches: the bits (C,) of a model, and its thresholds, one or two, in one order; every
            model has equally many.
        base, models: the bits, (C,) and (M, C).

    Returns:
        The indices of the weights whose key is in some threshold's search range, (U,) uint32; the
        bits of the base and of all models there, (M + 1, U); for each threshold, how many weights
        come before its search range.
    """

    def range_of(threshold: Threshold) -> tuple[np.uint32, np.uint32]:
        low, span = threshold.search.keys_in(chunk)
        return np.uint32(low), np.uint32(span)

    given = tuple(
        (model, np.uint32(thresholds[0].flip), *map(range_of, thresholds), *[None] * (2 - len(thresholds)))
        for model, thresholds in searches
    )
    indices, bits = np.empty(base.size + 8, np.uint32), np.empty((len(models) + 1, base.size), base.dtype)
    below = np.zeros((len(searches), 2), np.int64)
    count = kernels.collect(base, tuple(models), given, indices, bits, below)
    return indices[:count].copy(), bits[:, :count].copy(), below[:, : len(searches[0][1])].ravel()
