"""Exact order statistics of a task vector's magnitudes, which are seen a part at a time, in little memory.

The bits of a non-negative float, read as an integer, are ordered as the floats are; such an integer is called a key here. A first look at
some eight parts, counting the upper 16 of the keys' 31 bits, says nearly where the wanted rank lies. The second look counts all keys below
that range and collects those in it, which is a few of a hundred; among them is the rank's. If it is not, a full count follows, and then the
collecting again. Sorting would need the whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty, SimpleQueue

import numpy as np

from merging.lazy import kernels
from merging.merged import shift
from merging.survey import Array, Part

DESCENDING = 0x7FFFFFFF
"""A key's exclusive-or with it reverses the order."""
SAMPLE = 8
"""The first look is at about so many parts of a tensor, or at all."""
MARGIN = 0.005
"""By how much of the weights the sample's rank may be wrong. Tens of times its standard error; but parts of a tensor differ."""
MANY, NARROW = 2**10, 2**17
"""More keys than MANY, from a range as narrow as NARROW, are stored with their frequencies: differences of bf16 weights are often equal."""

Collected = tuple[int, Array, Array]
"""How many keys of a part are below a range, those in it, and how often each is there, or ONCE."""
ONCE = np.empty(0, np.uint32)


def collect(cuts: Sequence[Cut], base: Array, model: Array) -> list[Collected]:
    """Search a part of a model for several cuts that order it alike."""
    room = np.empty((len(cuts), model.size + 8), np.uint32)
    counts, below = np.empty(len(cuts), np.int64), np.empty(len(cuts), np.int64)
    lows, spans = (np.array(each, np.uint32) for each in zip(*((cut.low, cut.span) for cut in cuts), strict=True))
    kernels.collect(base, model, shift(model), cuts[0].flip, lows, spans, room, counts, below)
    found: list[Collected] = []
    for cut, keys, count, less in zip(cuts, room, counts.tolist(), below.tolist(), strict=True):
        keys = keys[:count]
        if count > MANY and cut.span <= NARROW:
            table = np.zeros(cut.span, np.int64)
            kernels.tally(keys, ONCE, cut.low, cut.span, 0, table)
            different = np.flatnonzero(table)
            if 2 * different.size < count:
                found.append((less, (different + cut.low).astype(np.uint32), table[different].astype(np.uint32)))
                continue
        found.append((less, keys.copy(), ONCE))
    return found


class Cut:
    """Divides a tensor's weights into the first `count` by magnitude and the rest; of equal ones, those with the lowest index come first.

    Attributes:
        key: that at the cut.
        equal: how many weights of that key each part has. within: how many of them are before the cut.
    """

    def __init__(self, count: int, flip: int = 0) -> None:
        """`flip`: 0, smallest first; DESCENDING, largest first."""
        self.rank = count
        self.flip = np.uint32(flip)
        self.tables: SimpleQueue[Array] = SimpleQueue()

    def count(self, base: Array, model: Array) -> None:
        """Count a part of a model."""
        # A table a thread: their sum does not depend on which part went into which.
        try:
            table = self.tables.get_nowait()
        except Empty:
            table = np.zeros(2**16, np.int64)
        kernels.count_upper(base, model, shift(model), self.flip, table)
        self.tables.put(table)

    def counted(self) -> Array:
        """All that was counted."""
        table = np.zeros(2**16, np.int64)
        while not self.tables.empty():
            table += self.tables.get()
        return table

    def end_count(self, table: Array, size: int, whole: bool) -> None:
        """Find the range of keys to search, from the counts of a sample of the tensor's `size` weights, or of the whole."""
        cumulative = np.cumsum(table)
        share = self.rank / max(size, 1)
        ranks = (self.rank, self.rank) if whole else ((share - MARGIN) * cumulative[-1], (share + MARGIN) * cumulative[-1])
        first, last = (min(int(np.searchsorted(cumulative, rank)), table.size - 1) for rank in ranks)
        self.low = first << 15
        self.span = (last + 1 << 15) - self.low

    def end_collect(self, found: Sequence[Collected]) -> bool:
        """Find the key at the cut; return whether it was in the range."""
        left = self.rank - sum(below for below, *_ in found)
        if not 0 <= left <= sum(int(counts.sum()) if counts.size else keys.size for _, keys, counts in found):
            return False
        self.key, span = self.low, self.span
        while span > 1:
            # A million bins at a time.
            step = max((span - 1).bit_length() - 20, 0)
            table = np.zeros((span - 1 >> step) + 1, np.int64)
            for _, keys, counts in found:
                kernels.tally(keys, counts, self.key, span, step, table)
            cumulative = np.cumsum(table)
            place = int(np.searchsorted(cumulative, left))
            left -= int(cumulative[place] - table[place])
            self.key, span = self.key + (place << step), 1 << step
        self.equal = np.array(
            [(counts[keys == self.key] if counts.size else keys == self.key).sum() for _, keys, counts in found], np.int64
        )
        before = np.cumsum(self.equal) - self.equal
        self.within = np.clip(left - before, 0, self.equal)
        return True

    def bound(self, part: Part) -> int | None:
        """A key below which a part's weights are before the cut, and from which on after it; None where the cut divides equal ones."""
        equal, within = self.equal[part.index], self.within[part.index]
        return None if 0 < within < equal else self.key + int(within > 0)

    def before(self, part: Part, keys: Array) -> Array:
        """Boolean mask of a part's weights that are before the cut."""
        mask = keys < self.key
        mask[np.flatnonzero(keys == self.key)[: self.within[part.index]]] = True
        return mask
