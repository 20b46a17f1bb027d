"""Exact order statistics of a task vector's magnitudes, which are seen a part at a time, in little memory.

The bits of a non-negative float, read as an integer, are ordered as the floats are; such an integer is called a key here. A sample says
nearly where the wanted rank's key lies. One pass over the tensor then counts the keys below that range and collects those in it, which are
a few of a hundred; among them is the rank's. If it is not, all keys are counted by their upper halves, and another such pass follows.
Sorting would need the whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from merging.lazy import kernels
from merging.survey import Array, Part

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
        low, span: the cut's key is expected from `low` on and below `low + span`. share: of the tensor's weights, which are there.
        key: that at the cut; of the weights with it, only some may be before the cut.
        equal: how many weights with that key each part has. within: how many of them are before the cut.
    """

    def __init__(self, rank: int, flip: int = 0) -> None:
        """`flip`: 0, smallest first; DESCENDING, largest first."""
        self.rank, self.flip = rank, flip

    def expect(self, table: Array, size: int, runs: Array | None = None) -> None:
        """Find the range of keys to search.

        Args:
            table: what `counted` says of a sample, or of the whole tensor.
            size: of the tensor.
            runs: the sample's keys, (runs, length); None: it was the whole.
        """
        cumulative = np.cumsum(table)
        ranks = self.rank, self.rank
        if runs is not None:
            rank = self.rank / size * runs.size
            below = np.count_nonzero(runs < np.searchsorted(cumulative, rank) << 15, axis=1)
            margin = runs.size * max(DEVIATIONS * below.std(ddof=1) / len(below) ** 0.5 / runs.shape[1], LEAST)
            ranks = rank - margin, rank + margin
        first, last = (min(int(np.searchsorted(cumulative, rank)), TABLE - 1) for rank in ranks)
        self.low, self.span = first << 15, last + 1 - first << 15
        self.share = table[first : last + 1].sum() / max(cumulative[-1], 1)

    def condense(self, keys: Array) -> tuple[Array, Array]:
        """The keys in the range, each once, and how often it is there: differences of bf16 weights are often equal."""
        keys = keys[keys - np.uint32(self.low) < self.span]
        if 4 * keys.size < self.span:
            return np.unique(keys, return_counts=True)
        table = np.zeros(self.span + 1, np.int64)
        kernels.tally(keys, None, np.uint32(self.low), np.uint32(self.span), np.uint32(0), table)
        different = np.flatnonzero(table[:-1])
        return (different + self.low).astype(np.uint32), table[different]

    def settle(self, below: int, found: Sequence[tuple[Array, Array | None]]) -> bool:
        """Find the key at the cut; return whether it was in the range.

        Args:
            below: how many keys of the tensor are below the range.
            found: of each part, a superset of the keys in the range, and how often each is there (None: once).
        """
        left, key, span = self.rank - below, self.low, self.span
        while span > 1:
            # Some thousand bins at a time, which a core's nearest cache holds.
            step = max((span - 1).bit_length() - 12, 0)
            table = np.zeros((span - 1 >> step) + 2, np.int64)
            for keys, counts in found:
                kernels.tally(keys, counts, np.uint32(key), np.uint32(span), np.uint32(step), table)
            cumulative = np.cumsum(table[:-1])
            if not 0 <= left <= cumulative[-1]:
                return False
            place = int(np.searchsorted(cumulative, left))
            left -= int(cumulative[place] - table[place])
            key, span = key + (place << step), min(1 << step, span - (place << step))
        self.key = key
        # Of those with this key, the first `left` are before the cut.
        self.equal = np.array(
            [np.count_nonzero(keys == key) if counts is None else counts[keys == key].sum() for keys, counts in found], np.int64
        )
        before = np.cumsum(self.equal) - self.equal
        self.within = np.clip(left - before, 0, self.equal)
        return True

    def ties(self, part: Part | None) -> tuple[int, int]:
        """How many of a part's weights (None: of all) have the cut's key, and how many of these are before the cut."""
        if part:
            return int(self.equal[part.index]), int(self.within[part.index])
        return int(self.equal.sum()), int(self.within.sum())

    def bound(self, part: Part | None) -> int | None:
        """A key below which a part's weights are before the cut, and from which on after it; None where the cut divides equal ones."""
        equal, within = self.ties(part)
        return None if 0 < within < equal else self.key + int(within > 0)

    def before(self, part: Part | None, keys: Array) -> Array:
        """Boolean mask of a part's weights that are before the cut."""
        mask = np.empty(keys.size, bool)
        kernels.mark_first(keys, self.key, self.ties(part)[1], mask)
        return mask


def collect(cuts: Sequence[tuple[int, Cut]], base: Array, models: Array) -> tuple[Array, Array, list[int]]:
    """Search a part of a tensor.

    Args:
        cuts: which model's keys it divides, and the cut.

    Returns:
        The indices of the weights of which some model's key is in the range of a cut; their bits, the base's and a row a model; for each
        cut, how many keys are below its range.
    """
    found, bits, below = (
        np.empty(base.size + 8, np.uint32),
        np.empty((len(models) + 1, base.size), base.dtype),
        np.empty(len(cuts), np.int64),
    )
    which = np.array([index for index, _ in cuts])
    flips, lows, spans = (np.array(each, np.uint32) for each in zip(*((cut.flip, cut.low, cut.span) for _, cut in cuts), strict=True))
    count = kernels.collect(base, tuple(models), (which, flips, lows, spans), found, bits, below)
    return found[:count].copy(), bits[:, :count].copy(), below.tolist()
