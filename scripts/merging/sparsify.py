"""The sparsifying surveys: which weights of a task vector are kept, and the rescaling of those that are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from common import UserError
from merging.arithmetic import sum_abs
from merging.compiled import compiled
from merging.ranks import DESCENDING, Cut, keep_between
from merging.registry import NotNegativePerModel, Rescale, SharePerModel
from merging.survey import Array, Draw, Part, Place, Survey


class Sparsifier(Survey):
    """What is left of each model's task vector. Density 1 keeps everything, as in mergekit.

    Rescaling: `true` or `l1`, mergekit's, multiplies what is kept by one factor that restores the tensor's L1 norm; `density`, that of the
    DARE paper (its equation 2, with 1 - p for density), divides it by the density, which is the same in expectation and saves a pass.
    """

    def __init__(self, place: Place, draw: Draw, density: Sequence[float], rescale: bool | str) -> None:
        super().__init__(place, draw)
        self.density = density
        self.sparse = [index for index, share in enumerate(density) if share < 1]
        self.factors = [1.0 if rescale != "density" or not share else 1 / share for share in density]
        self.restores_norm = rescale in (True, "l1")
        self.choosing = 0  # passes that the choice needs

    def survey(self, choosing: int) -> None:
        """Set the number of passes."""
        self.choosing = choosing
        self.passes = choosing + self.restores_norm if self.sparse else 0

    def look(self, number: int, part: Part, base: Array | None, models: Array) -> list[Any]:
        found = []
        for index in self.sparse:
            delta = models[index] - base
            if number < self.choosing:
                found.append(self.choose(number, index, part, delta))
            else:
                before = sum_abs(delta)
                self.keep(index, part, delta)
                found.append((before, sum_abs(delta)))
        return found

    def conclude(self, number: int, found: list[list[Any]]) -> None:
        for place, index in enumerate(self.sparse):
            parts = [each[place] for each in found]
            if number < self.choosing:
                self.chosen(number, index, parts)
            else:
                before, after = (math.fsum(sums) for sums in zip(*parts, strict=True))
                # Below this, mergekit does not rescale either: the quotient would be noise.
                self.factors[index] = 1.0 if min(before, after) < 1e-7 else before / after

    def of(self, part: Part) -> Callable[[Array], Array]:
        """Task vectors, a row each -> what is kept of them, in their place."""

        def keep(deltas: Array) -> Array:
            for index in self.sparse:
                self.keep(index, part, deltas[index])
                if self.factors[index] != 1:
                    deltas[index] *= np.float32(self.factors[index])
            return deltas

        return keep

    def choose(self, number: int, index: int, part: Part, delta: Array) -> Any:
        """`look`, at one model's task vector."""
        raise NotImplementedError

    def chosen(self, number: int, index: int, found: list[Any]) -> None:
        """`conclude`, for one model's task vector."""
        raise NotImplementedError

    def keep(self, index: int, part: Part, delta: Array) -> None:
        """Set a part of a task vector to 0 where it is not kept."""
        raise NotImplementedError


class Ranked(Sparsifier):
    """Keeps a range of ranks by magnitude; equal magnitudes rank by their index."""

    def cuts(self, low: Sequence[Cut | None], high: Sequence[Cut]) -> None:
        self.low, self.high = low, high
        self.survey(choosing=2)

    def choose(self, number: int, index: int, part: Part, delta: Array) -> Any:
        return [cut.look(number, delta) if cut else None for cut in (self.low[index], self.high[index])]

    def chosen(self, number: int, index: int, found: list[Any]) -> None:
        for place, cut in enumerate((self.low[index], self.high[index])):
            if cut:
                cut.conclude(number, [parts[place] for parts in found])

    def keep(self, index: int, part: Part, delta: Array) -> None:
        keep_between(delta, part, self.low[index], self.high[index])


class Top(Ranked):
    """The int(density n) weights of the largest magnitude (TIES, arXiv 2306.01708, section 3); as in mergekit, at least one unless density is 0."""

    def __init__(self, place: Place, draw: Draw, *, density: SharePerModel = 1.0, rescale: Rescale = False) -> None:
        super().__init__(place, draw, density, rescale)
        self.cuts([None] * len(density), [Cut(max(int(share * place.size), int(share > 0)), DESCENDING) for share in density])


class Crumbs(Ranked):
    """The ranks [n - k - g, n - g) by ascending magnitude, k = int(density n), g = int(gamma n) (Breadcrumbs, arXiv 2312.06795).

    Where n - k - g < 0, ranks [0, k) are kept: the density is honoured before gamma. Density 1 keeps everything.
    """

    def __init__(
        self,
        place: Place,
        draw: Draw,
        *,
        density: SharePerModel = 1.0,
        gamma: SharePerModel = 0.01,
        rescale: Rescale = False,
    ) -> None:
        super().__init__(place, draw, density, rescale)
        kept = [int(share * place.size) for share in density]
        starts = [max(place.size - count - int(outliers * place.size), 0) for count, outliers in zip(kept, gamma, strict=True)]
        self.cuts([Cut(start) for start in starts], [Cut(start + count) for start, count in zip(starts, kept, strict=True)])


class Dropped(Sparsifier):
    """Each weight with probability `density` (DARE, arXiv 2311.03099, where 1 - density is the drop rate p)."""

    def __init__(self, place: Place, draw: Draw, *, density: SharePerModel = 1.0, rescale: Rescale = True) -> None:
        super().__init__(place, draw, density, rescale)
        self.masks: dict[tuple[int, int], Array] = {}
        self.survey(choosing=0)

    def keep(self, index: int, part: Part, delta: Array) -> None:
        keep_where(delta, self.mask(index, part, delta))

    def mask(self, index: int, part: Part, delta: Array) -> Array:
        """Random masks are made once, and kept as bits: drawing again for the merging pass would cost more than the rest of it."""
        bits = self.masks.pop((index, part.index), None)
        if bits is not None:
            return np.unpackbits(bits, count=part.size).view(bool)
        mask = self.draw(index, part.start, part.size) < self.probability(index, delta)
        if self.passes:
            self.masks[index, part.index] = np.packbits(mask)
        return mask

    def probability(self, index: int, delta: Array) -> Array | np.float32:
        return np.float32(self.density[index])


class RankDropped(Dropped):
    """Each weight with a probability that is linear in its rank by magnitude in its row, from density - epsilon to density + epsilon.

    Source: DELLA, arXiv 2406.11617, section 3.1. A row is the last axis; the only weight of a row is kept by `density`. Magnitudes that
    differ by less than one part in 64 rank by index: the probabilities of a row are the same, to whom they fall is slightly blurred, and
    no row needs sorting.
    """

    unit = "row"

    def __init__(
        self,
        place: Place,
        draw: Draw,
        *,
        density: SharePerModel = 1.0,
        epsilon: NotNegativePerModel = 0.15,
        rescale: Rescale = True,
    ) -> None:
        super().__init__(place, draw, density=density, rescale=rescale)
        self.epsilon = epsilon

    @classmethod
    def check(cls, *, density: Sequence[float], epsilon: Sequence[float], **_: Any) -> None:
        for share, spread in zip(density, epsilon, strict=True):
            # Density 0 and 1, nothing and everything, need no epsilon.
            if share not in (0, 1) and not 0 < share - spread <= share + spread < 1:
                raise UserError(
                    f"epsilon is {spread:g} with density {share:g}: density - epsilon and density + epsilon must lie between 0 and 1."
                )

    def probability(self, index: int, delta: Array) -> Array | np.float32:
        row = self.place.shape[-1] if self.place.shape else 1
        if row == 1 or self.density[index] == 0:
            return np.float32(self.density[index])
        probability = np.empty(delta.size, np.float32)
        low = self.density[index] - self.epsilon[index]
        step = 2 * self.epsilon[index] / (row - 1)
        by_rank(delta.view(np.uint32).reshape(-1, row), np.float32(low), np.float32(step), probability.reshape(-1, row))
        return probability


@compiled
def keep_where(values, mask):
    for i in range(values.size):
        values[i] = values[i] if mask[i] else np.float32(0)


@compiled
def by_rank(bits, low, step, probability):
    """low + step * rank in the row, by a counting sort: bins are 64 to a power of two, below the row's largest magnitude."""
    bins = np.empty(1024, np.uint32)
    for row in range(bits.shape[0]):
        largest = np.uint32(0)
        for i in range(bits.shape[1]):
            largest = max(largest, bits[row, i] & np.uint32(0x7FFFFFFF))
        lowest = max(np.int64(largest >> np.uint32(17)) - 1023, 0)
        bins[:] = 0
        for i in range(bits.shape[1]):
            bins[max(np.int64((bits[row, i] & np.uint32(0x7FFFFFFF)) >> np.uint32(17)) - lowest, 0)] += np.uint32(1)
        rank = np.uint32(0)
        for i in range(1024):
            rank, bins[i] = rank + bins[i], rank
        for i in range(bits.shape[1]):
            place = max(np.int64((bits[row, i] & np.uint32(0x7FFFFFFF)) >> np.uint32(17)) - lowest, 0)
            probability[row, i] = low + step * np.float32(bins[place])
            bins[place] += np.uint32(1)
