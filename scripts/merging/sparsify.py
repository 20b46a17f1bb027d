"""The sparsifying surveys: which weights of a task vector are kept, and the rescaling of those that are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from common import UserError
from merging.lazy import kernels
from merging.merged import Kept, fp32, shift
from merging.ranks import DESCENDING, SAMPLE, Cut, collect
from merging.registry import NotNegativePerModel, Rescale, SharePerModel
from merging.survey import Array, Draw, Part, Place, Survey

ALL_KEYS = 2**31


class Sparsifier(Survey):
    """What is left of each model's task vector. Density 1 keeps everything, as in mergekit.

    Rescaling: `true` or `l1`, mergekit's, multiplies what is kept by one factor that restores the tensor's L1 norm; `density`, that of the
    DARE paper (where density is 1 - p), divides it by the density, which is the same in expectation.

    Attributes:
        sparse: the models of which something is dropped.
        factors: what is kept is multiplied by its model's.
    """

    def __init__(self, place: Place, draw: Draw, density: Sequence[float], rescale: bool | str) -> None:
        super().__init__(place, draw)
        self.density = density
        self.sparse = [index for index, share in enumerate(density) if share < 1]
        self.factors = np.array([1 / share if rescale == "density" and share else 1 for share in density], np.float32)
        self.restores_norm = rescale in (True, "l1")

    def restore_norms(self, found: list[list[tuple[float, float]]]) -> None:
        """Set the factors from the sums of magnitudes, before and after dropping: of each part, for each of `sparse`."""
        for index, sums in zip(self.sparse, zip(*found, strict=True), strict=bool(found)):
            before, after = (math.fsum(column) for column in zip(*sums, strict=True))
            # Below this, mergekit does not rescale either: the quotient would be noise.
            self.factors[index] = 1.0 if min(before, after) < 1e-7 else before / after

    def of(self, part: Part, base: Array, models: Array) -> Kept:
        if not self.sparse:
            return Kept()
        count = len(self.density)
        kept = Kept(
            flips=np.zeros(count, np.uint32),
            lows=np.zeros(count, np.uint32),
            highs=np.full(count, ALL_KEYS, np.uint32),
            masks=np.empty((count, 0), np.uint8),
            factors=self.factors,
        )
        for index in self.sparse:
            self.keep(index, part, base, models[index], kept)
        return kept

    def keep(self, index: int, part: Part, base: Array, model: Array, kept: Kept) -> None:
        """Say what is kept of a model's task vector in a part."""
        raise NotImplementedError

    def set_mask(self, index: int, part: Part, kept: Kept, bits: Array) -> None:
        """Keep what has a bit."""
        if not kept.masks.shape[1]:
            kept.masks = np.full((len(self.density), -(-part.size // 8)), 255, np.uint8)
        kept.masks[index] = bits


class Ranked(Sparsifier):
    """Keeps a range of ranks by magnitude; equal magnitudes rank by their index."""

    def cut(self, low: Sequence[Cut | None], high: Sequence[Cut]) -> None:
        """Keep what is not before `low` but before `high`, cuts for each model."""
        self.low, self.high = low, high
        self.cuts = {index: [cut for cut in (low[index], high[index]) if cut] for index in self.sparse}
        self.steps = ["sample", "collect"] + ["norms"] * self.restores_norm if self.sparse else []

    @property
    def passes(self) -> int:
        return len(self.steps)

    def stride(self, number: int, parts: int) -> int:
        return max(parts // SAMPLE, 1) if self.steps[number] == "sample" else 1

    def look(self, number: int, part: Part, base: Array, models: Array) -> list[Any]:
        if self.steps[number] == "collect":
            return [each for index, cuts in self.cuts.items() for each in collect(cuts, base, models[index])]
        if self.steps[number] == "norms":
            return [self.norm(index, part, base, models[index]) for index in self.sparse]
        for index, cuts in self.cuts.items():
            # One table will do for several: they differ in what they look for in it.
            cuts[0].count(base, models[index])
        return []

    def norm(self, index: int, part: Part, base: Array, model: Array) -> tuple[float, float]:
        magnitudes = np.abs(fp32(model) - fp32(base)).astype(np.float64)
        return math.fsum(magnitudes), math.fsum(magnitudes[self.chosen(index, part, base, model)])

    def conclude(self, number: int, found: list[list[Any]]) -> None:
        step = self.steps[number]
        if step == "norms":
            self.restore_norms(found)
        elif step == "collect":
            cuts = [cut for cuts in self.cuts.values() for cut in cuts]
            complete = [cut.end_collect([each[place] for each in found]) for place, cut in enumerate(cuts)]
            if not all(complete):
                self.steps[number + 1 : number + 1] = ["count", "collect"]
        else:
            for cuts in self.cuts.values():
                table = cuts[0].counted()
                for cut in cuts:
                    cut.end_count(table, self.place.size, whole=step == "count")

    def keep(self, index: int, part: Part, base: Array, model: Array, kept: Kept) -> None:
        low, high = self.low[index], self.high[index]
        begin, end = low.bound(part) if low else 0, high.bound(part)
        if begin is None or end is None:
            self.set_mask(index, part, kept, np.packbits(self.chosen(index, part, base, model), bitorder="little"))
        else:
            kept.flips[index], kept.lows[index], kept.highs[index] = high.flip, begin, end

    def kept(self, index: int) -> float:
        low, high = self.low[index], self.high[index]
        return (high.rank - (low.rank if low else 0)) / max(self.place.size, 1)

    def chosen(self, index: int, part: Part, base: Array, model: Array) -> Array:
        """Boolean mask of what is kept of a part."""
        low, high = self.low[index], self.high[index]
        keys = np.empty(model.size, np.uint32)
        kernels.keys(base, model, shift(model), high.flip, keys)
        mask = high.before(part, keys)
        if low:
            mask &= ~low.before(part, keys)
        return mask


class Top(Ranked):
    """The int(density n) weights of the largest magnitude (TIES, arXiv 2306.01708, section 3); as in mergekit, at least one unless density is 0."""

    def __init__(self, place: Place, draw: Draw, *, density: SharePerModel = 1.0, rescale: Rescale = False) -> None:
        super().__init__(place, draw, density, rescale)
        self.cut([None] * len(density), [Cut(max(int(share * place.size), int(share > 0)), DESCENDING) for share in density])


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
        self.cut([Cut(start) for start in starts], [Cut(start + count) for start, count in zip(starts, kept, strict=True)])


class Dropped(Sparsifier):
    """Each weight with probability `density` (DARE, arXiv 2311.03099, where 1 - density is the drop rate p).

    `rescale` defaults to the paper's, by 1 / density: it is unbiased, and what a weight becomes does not depend on which others are dropped.
    mergekit's, `true`, is the same in expectation; it needs another pass, for which what is dropped is kept as one bit a weight.
    """

    def __init__(self, place: Place, draw: Draw, *, density: SharePerModel = 1.0, rescale: Rescale = "density") -> None:
        super().__init__(place, draw, density, rescale)
        self.masks: dict[tuple[int, int], Array] = {}
        self.passes = int(bool(self.sparse) and self.restores_norm)

    def kept(self, index: int) -> float:
        return self.density[index]

    def look(self, number: int, part: Part, base: Array, models: Array) -> list[tuple[float, float]]:
        return [self.drop(index, part, base, models[index]) for index in self.sparse]

    def conclude(self, number: int, found: list[list[tuple[float, float]]]) -> None:
        self.restore_norms(found)

    def keep(self, index: int, part: Part, base: Array, model: Array, kept: Kept) -> None:
        if not self.passes:
            self.drop(index, part, base, model)
        self.set_mask(index, part, kept, self.masks.pop((index, part.index)))

    def drop(self, index: int, part: Part, base: Array, model: Array) -> tuple[float, float]:
        """Decide for a part of a model; return the sums of the magnitudes before and after."""
        chosen = np.empty(part.size, bool)
        row, low, step = self.probability(index)
        numbers = self.draw(index, part.start, part.size)
        sums = kernels.drop(base, model, shift(model), numbers, row, np.float32(low), np.float32(step), self.restores_norm, chosen)
        self.masks[index, part.index] = np.packbits(chosen, bitorder="little")
        return sums

    def probability(self, index: int) -> tuple[int, float, float]:
        """Length of a row, the probability to keep the smallest of it, and how it grows with the rank; row 0 if it is the same for all."""
        return 0, self.density[index], 0.0


class RankDropped(Dropped):
    """Each weight with a probability that is linear in its rank by magnitude in its row, from density - epsilon to density + epsilon.

    Source: DELLA, arXiv 2406.11617, section 3.1. A row is the last axis; the only weight of a row is kept by `density`. Magnitudes that
    differ by less than one part in 64 rank by index: a row's probabilities are the same, to whom they fall is slightly blurred, and no row
    needs sorting.
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

    def probability(self, index: int) -> tuple[int, float, float]:
        row = self.place.shape[-1] if self.place.shape else 1
        if row == 1 or self.density[index] == 0:
            return super().probability(index)
        return row, self.density[index] - self.epsilon[index], 2 * self.epsilon[index] / (row - 1)
