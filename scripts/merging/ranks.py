"""Exact order statistics of magnitudes that are seen a part at a time, in two passes and a fixed amount of memory.

The bits of a non-negative float, read as an integer, are ordered as the floats are. One pass counts the upper 16 of a magnitude's 31 bits,
which says in which of 65,536 bins the wanted rank lies; the second counts the lower 15 within that bin. Sorting would need the whole tensor.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue

import numpy as np

from merging.compiled import compiled
from merging.survey import Array, Part

DESCENDING = 0x7FFFFFFF
"""Subtracting a magnitude's bits from it reverses the order."""


class Cut:
    """Divides a tensor's weights into the first `count` by magnitude and the rest; of equal ones, those with the lowest index come first."""

    def __init__(self, count: int, flip: int = 0) -> None:
        """`flip`: 0, smallest first; DESCENDING, largest first."""
        self.flip = np.uint32(flip)
        self.left = count  # how many are still to be found: first in a bin, then among the equal ones
        self.key = 0  # the magnitude at the cut: its upper bits after the first pass, all after the second
        self.tables: SimpleQueue[Array] = SimpleQueue()

    def look(self, number: int, values: Array) -> tuple[Array, Array] | None:
        """Count a part's upper bits (pass 0), or its lower ones in the bin (pass 1), which are returned with their frequencies."""
        if number == 1:
            table = np.zeros(2**15, np.uint32)
            count_lower(values.view(np.uint32), self.flip, np.uint32(self.key), table)
            lower = np.flatnonzero(table).astype(np.uint16)
            return lower, table[lower]
        # A table a thread: their sum does not depend on which part went into which.
        try:
            table = self.tables.get_nowait()
        except Empty:
            table = np.zeros(2**16, np.int64)
        count_upper(values.view(np.uint32), self.flip, table)
        self.tables.put(table)
        return None

    def conclude(self, number: int, found: list[tuple[Array, Array]]) -> None:
        table = np.zeros(2**15 if number else 2**16, np.int64)
        if number == 0:
            while not self.tables.empty():
                table += self.tables.get()
        for lower, frequency in found if number else ():
            table[lower] += frequency
        cumulative = np.cumsum(table)
        place = int(np.searchsorted(cumulative, self.left))
        self.left -= int(cumulative[place] - table[place])
        self.key = self.key << 15 | place
        if number == 1:
            equal = np.array([frequency[lower == place].sum() for lower, frequency in found], np.int64)
            before = np.cumsum(equal) - equal
            self.equal = equal
            self.equal_within = np.clip(self.left - before, 0, equal)

    def bound(self, part: Part) -> int | None:
        """A key below which a part's weights are before the cut, and from which on after it; None where the cut divides equal ones."""
        equal, within = self.equal[part.index], self.equal_within[part.index]
        return None if 0 < within < equal else self.key + int(within > 0)

    def before(self, part: Part, values: Array) -> Array:
        """Boolean mask of a part's weights that are before the cut."""
        keys = (values.view(np.uint32) & np.uint32(0x7FFFFFFF)) ^ self.flip
        mask = keys < self.key
        mask[np.flatnonzero(keys == self.key)[: self.equal_within[part.index]]] = True
        return mask


def keep_between(values: Array, part: Part, low: Cut | None, high: Cut) -> None:
    """Set a part's values to 0 where they are before `low` or not before `high`."""
    begin, end = low.bound(part) if low else 0, high.bound(part)
    if begin is not None and end is not None:
        keep_keys(values.view(np.uint32), high.flip, np.uint32(begin), np.uint32(end))
        return
    mask = high.before(part, values)
    if low:
        mask &= ~low.before(part, values)
    values[~mask] = 0


@compiled
def count_upper(bits, flip, table):
    for i in range(bits.size):
        table[((bits[i] & np.uint32(0x7FFFFFFF)) ^ flip) >> np.uint32(15)] += 1


@compiled
def count_lower(bits, flip, upper, table):
    for i in range(bits.size):
        key = (bits[i] & np.uint32(0x7FFFFFFF)) ^ flip
        if key >> np.uint32(15) == upper:
            table[key & np.uint32(0x7FFF)] += np.uint32(1)


@compiled
def keep_keys(bits, flip, begin, end):
    for i in range(bits.size):
        key = (bits[i] & np.uint32(0x7FFFFFFF)) ^ flip
        bits[i] = bits[i] if begin <= key < end else np.uint32(0)
