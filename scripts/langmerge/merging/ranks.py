"""Exact order statistics of a task vector's magnitudes, which are seen a part at a time, in little memory.

The bits of a non-negative float, read as an integer, are ordered as the floats are; such an integer is called a key here. Differences of
bf16 weights are often equal, and equal keys are ordered by their weights' indices. A sample says nearly where the wanted rank lies: from
which key on, and of that from which index on, up to which. One pass over the tensor then counts what is before and collects what is there,
a few of a hundred; among them is the wanted one. If it is not, all keys are counted by their upper halves, and another such pass follows.
Sorting would need the whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from langmerge.merging.lazy import kernels
from langmerge.merging.survey import Array, Part

DESCENDING = 0x7FFFFFFF
"""A key's exclusive-or with it reverses the order."""
RUNS, RUN = 128, 1024
"""A sample consists of at least so many runs of so many weights."""
DEVIATIONS = 3.5
"""By how many standard errors the sample may be wrong about a rank. They are estimated from the runs: a row of a tensor is not like the next."""
LEAST = 0.0005
"""The least share of the weights by which it may be."""
TABLE = 2**16
"""Values of the upper 16 of a key's 31 bits."""


def keys_of(base: Array, model: Array, flip: int) -> Array:
    """A task vector's keys, in an order: `flip` is 0 for smallest first, or DESCENDING."""
    keys = np.empty(model.size, np.uint32)
    kernels.fill_keys(base, model, np.uint32(flip), keys)
    return keys


def counted(keys: Array) -> Array:
    """How many keys there are of each value of the upper 16 bits."""
    table = np.zeros(TABLE, np.int64)
    kernels.count_upper(keys, table)
    return table


class Cut:
    """Divides a tensor's weights into the first `rank` by magnitude and the rest; of equal ones, those with the lowest index come first.

    Attributes:
        first, last: the cut is expected between these, each a key and, of the weights with that key, an index.
        share: of the tensor's weights, which are there.
        key, index, count: the cut's key; of the weights with it, those in parts before the `index`-th are before the cut, and the first `count`
            of that part.
    """

    def __init__(self, rank: int, flip: int = 0) -> None:
        """`flip`: 0, smallest first; DESCENDING, largest first."""
        self.rank, self.flip = rank, flip

    def expect(self, table: Array, size: int) -> None:
        """Find where to search, from what `counted` says of a whole tensor of this size."""
        upper = min(int(np.searchsorted(np.cumsum(table), self.rank)), TABLE - 1)
        self.first, self.last, self.share = (upper << 15, 0), ((upper + 1 << 15) - 1, size), table[upper] / size

    def guess(self, sample: Array, size: int) -> None:
        """Find where to search in a tensor of this size, from the keys of a sample, (runs, length), which has a run of each of as many stretches."""
        keys, (runs, length) = sample.ravel(), sample.shape
        table = counted(keys)
        cumulative = np.cumsum(table)

        def at(rank: int) -> int:
            """Which of the sample's keys has this rank."""
            upper = int(np.searchsorted(cumulative, rank, side="right"))
            near = np.flatnonzero(keys >> np.uint32(15) == upper)
            return int(near[np.argsort(keys[near], kind="stable")[rank - int(cumulative[upper] - table[upper])]])

        rank = int(self.rank / size * keys.size)
        place = at(min(rank, keys.size - 1))
        before = (
            np.concatenate([keys[:place] <= keys[place], keys[place:] < keys[place]]).reshape(sample.shape).sum(axis=1)
        )
        # Neighbouring runs are compared, on either side of the cut: only in those before it are the weights with the cut's key before the cut.
        middle = place // length
        error = (
            np.square(np.concatenate([np.diff(before[:middle]), np.diff(before[middle + 1 :])])).mean() / 2 * runs
        ) ** 0.5
        margin = int(max(DEVIATIONS * error, LEAST * keys.size)) + 1
        low, high = rank - margin, rank + margin
        self.first, self.last = (0, 0), (DESCENDING, size)
        if low > 0:
            place = at(low)
            self.first = int(keys[place]), (size - length) * (place // length) // runs
        if high < keys.size:
            place = at(high)
            self.last = int(keys[place]), (size - length) * (place // length + 1) // runs + length
        self.share = (min(high, keys.size) - max(low, 0)) / keys.size

    def range(self, part: Part) -> tuple[int, int]:
        """The least key that is to be searched for in a part, and how many from there on are."""
        (first, begin), (last, end) = self.first, self.last
        low = first + (part.start + part.size <= begin)
        return low, max(last + (part.start < end) - low, 0)

    def among(self, part: Part, keys: Array) -> Array:
        """Those of a part's keys that are to be searched for."""
        low, span = self.range(part)
        return keys[keys - np.uint32(low) < span]

    def settle(self, below: int, found: Sequence[tuple[Array, Array | None]]) -> bool:
        """Find the cut; return whether it was where it was expected.

        Args:
            below: how many weights of the tensor come before those that were to be searched for.
            found: of each part, the keys of those, and how often each is there (None: once).
        """
        ends = np.cumsum([keys.size for keys, _ in found])
        keys, counts = (None if each[0] is None else np.concatenate(each) for each in zip(*found, strict=True))
        left, key, span = self.rank - below, self.first[0], self.last[0] + 1 - self.first[0]
        if not min(self.rank, 1) <= left <= (keys.size if counts is None else counts.sum()):
            return False
        while span > 1:
            # Some thousand bins at a time, which a core's nearest cache holds.
            step = max((span - 1).bit_length() - 12, 0)
            table = np.zeros((span - 1 >> step) + 2, np.int64)
            kernels.tally(keys, counts, np.uint32(key), np.uint32(span), np.uint32(step), table)
            cumulative = np.cumsum(table[:-1])
            place = int(np.searchsorted(cumulative, left))
            left -= int(cumulative[place] - table[place])
            key, span = key + (place << step), min(1 << step, span - (place << step))
        # Of those with this key, the first `left` are before the cut.
        equal = np.flatnonzero(keys == key)
        amounts = np.arange(1, equal.size + 1) if counts is None else np.cumsum(counts[equal])
        last = np.searchsorted(amounts, left)
        self.key, self.index, self.count = key, 0, 0
        if left:
            self.index = int(np.searchsorted(ends, equal[last], side="right"))
            earlier = np.searchsorted(equal, ends[self.index - 1]) if self.index else 0
            self.count = left - int(amounts[earlier - 1] if earlier else 0)
        return True

    def bound(self, part: Part) -> int | None:
        """A key below which a part's weights are before the cut, and from which on after it; None where the cut divides equal ones."""
        return None if part.index == self.index else self.key + (part.index < self.index)

    def before(self, part: Part, keys: Array) -> Array:
        """Boolean mask of a part's weights that are before the cut."""
        bound = self.bound(part)
        return self.divide(keys, 0, keys.size) if bound is None else keys < bound

    def divide(self, keys: Array, begin: int, end: int) -> Array:
        """Boolean mask of the weights with these keys that are before the cut: those from `begin` up to `end` are of the part that it divides."""
        equal = begin + np.flatnonzero(keys[begin:end] == self.key)[: self.count]
        place = equal[-1] + 1 if equal.size else begin
        mask = np.empty(keys.size, bool)
        np.less_equal(keys[:place], self.key, out=mask[:place])
        np.less(keys[place:], self.key, out=mask[place:])
        return mask


def collect(
    searches: Sequence[tuple[Array, Sequence[Cut]]], part: Part, base: Array, models: Array
) -> tuple[Array, Array, Array]:
    """Search a part of a tensor.

    Args:
        searches: a model's weights, and its cuts, which order it alike; equally many, one or two, of each.

    Returns:
        The indices of the weights of which some model's key is to be searched for by a cut; their bits, the base's and a row a model; for
        each cut, how many weights come before those that it searches for.
    """

    def range_of(cut: Cut) -> tuple[np.uint32, np.uint32]:
        low, span = cut.range(part)
        return np.uint32(low), np.uint32(span)

    given = tuple(
        (model, np.uint32(cuts[0].flip), *map(range_of, cuts), *[None] * (2 - len(cuts))) for model, cuts in searches
    )
    found, bits = np.empty(base.size + 8, np.uint32), np.empty((len(models) + 1, base.size), base.dtype)
    below = np.zeros((len(searches), 2), np.int64)
    count = kernels.collect(base, tuple(models), given, found, bits, below)
    return found[:count].copy(), bits[:, :count].copy(), below[:, : len(searches[0][1])].ravel()
