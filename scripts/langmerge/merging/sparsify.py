"""The sparsifying surveys: which weights of a task vector are kept, and the rescaling of those that are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.lazy import kernels
from langmerge.merging.merged import EVERY_KEY, Kept
from langmerge.merging.ranks import DESCENDING, RUN, RUNS, Cut, collect, counted, keys_of
from langmerge.merging.registry import NotNegativePerModel, Rescale, SharePerModel
from langmerge.merging.survey import Array, Draw, Part, Place, Survey

FEW = 1 / 4
"""The share of a tensor's weights up to which they may be remembered until a cut is known."""


class Sparsifier(Survey):
    """What is left of each model's task vector. Density 1 keeps everything, as in mergekit.

    Rescaling: `true` or `l1`, mergekit's, multiplies what is kept by one factor that restores the tensor's L1 norm; `density`, that of the
    papers of DARE and DELLA, 1 / (1 - p), divides each weight by the probability with which it is kept: the density, but for DELLA.

    Attributes:
        sparse: the models of which something is dropped.
        factors: what is kept is multiplied by its model's.
        mask: type of the masks (merged.Kept.chosen).
    """

    mask: type = bool

    def __init__(self, place: Place, draw: Draw, density: Sequence[float], rescale: bool | str) -> None:
        super().__init__(place, draw)
        self.density = density
        self.sparse = [index for index, share in enumerate(density) if share < 1]
        self.factors = [1 / share if rescale == "density" and share else 1.0 for share in density]
        self.restores_norm = rescale in (True, "l1")

    def restore_norms(self, found: list[list[tuple[float, float]]]) -> None:
        """Set the factors from the sums of magnitudes, before and after dropping: of each part, for each of `sparse`."""
        for index, sums in zip(self.sparse, zip(*found, strict=True), strict=bool(found)):
            before, after = (math.fsum(column) for column in zip(*sums, strict=True))
            # Below this, mergekit does not rescale either: the quotient would be noise.
            self.factors[index] = 1.0 if min(before, after) < 1e-7 else before / after

    def of(self, part: Part, base: Array, models: Array) -> Kept | None:
        return self.keep(part, base, models) if self.sparse else None

    def keep(self, part: Part, base: Array, models: Sequence[Array]) -> Kept:
        """What is kept of a part, where there is a model of which something is dropped."""
        raise NotImplementedError

    def every_mask(self, masks: dict[int, Array], size: int) -> list[Array]:
        """Masks of all models: of those that have none, everything is kept."""
        return [masks[index] if index in masks else np.ones(size, self.mask) for index in range(len(self.density))]


class Ranked(Sparsifier):
    """Keeps a range of ranks by magnitude; equal magnitudes rank by their index."""

    def cut(self, low: Sequence[Cut | None], high: Sequence[Cut]) -> None:
        """Keep what is not before `low` but before `high`, cuts for each model."""
        self.low, self.high = low, high
        self.cuts = [(index, cut) for index in self.sparse for cut in (low[index], high[index]) if cut]
        self.tables: dict[int, Array] = {}
        self.undecided: tuple[Array, Array] | None = None
        self.lock = Lock()
        first = "sample" if self.place.size > 4 * RUNS * RUN else "count"
        self.steps = [first, "collect"] + ["norms"] * self.restores_norm if self.sparse and self.place.size else []

    @property
    def passes(self) -> int:
        return len(self.steps)

    def cuts_of(self, index: int) -> list[Cut]:
        """A model's cuts, which order it alike."""
        return [cut for model, cut in self.cuts if model == index]

    def sample(self, number: int) -> tuple[int, int] | None:
        # The rarer the samples, the wider the margins: of large tensors, more are drawn, so that what is collected remains little.
        return (max(RUNS, self.place.size >> 18), RUN) if self.steps[number] == "sample" else None

    def foresees(self, number: int) -> bool:
        # Counts of keys, unlike a sample, do not say which of many equal ones to search: too many would have to be remembered.
        return (
            self.steps[number] == "collect" and not self.restores_norm and sum(cut.share for _, cut in self.cuts) < FEW
        )

    def look(self, number: int, part: Part, base: Array, models: Array) -> Any:
        step = self.steps[number]
        if step == "norms":
            return [self.norm(index, part, base, models[index]) for index in self.sparse]
        if step == "collect":
            _, (base, *models), below = self.collect(part, base, models)
            keys = (cut.among(part, keys_of(base, models[index], cut.flip)) for index, cut in self.cuts)
            # Differences of bf16 weights are often equal: each once is less to remember.
            return [np.unique(each, return_counts=True) for each in keys], below
        for index in self.sparse:
            cuts = self.cuts_of(index)
            keys = keys_of(base, models[index], cuts[0].flip)
            if step == "sample":
                for cut in cuts:
                    cut.guess(keys.reshape(-1, RUN), self.place.size)
            else:
                table = counted(keys)
                with self.lock:
                    self.tables[index] = self.tables.get(index, 0) + table
        return None

    def collect(self, part: Part, base: Array, models: Array) -> tuple[Array, Array, Array]:
        return collect([(models[index], self.cuts_of(index)) for index in self.sparse], part, base, models)

    def foresee(self, part: Part, base: Array, models: Array) -> tuple[Any, Kept, Array]:
        indices, bits, below = self.collect(part, base, models)
        keys = [(cut.among(part, keys_of(bits[0], bits[index + 1], cut.flip)), None) for index, cut in self.cuts]
        return (keys, below, bits), Kept(self.factors, ranges=self.ranges(lambda cut: cut.range(part)[0])), indices

    def settled(self) -> tuple[Array, Sequence[Array], Kept]:
        ends, (base, *models) = self.undecided
        self.undecided = None

        def divide(cut: Cut, keys: Array) -> Array:
            return cut.divide(keys, ends[cut.index - 1] if cut.index else 0, ends[cut.index])

        masks = {index: self.marked(index, divide, base, models[index]) for index in self.sparse}
        return base, models, Kept(self.factors, chosen=self.every_mask(masks, base.size))

    def conclude(self, number: int, found: list[Any]) -> None:
        step = self.steps[number]
        if step == "norms":
            self.restore_norms(found)
        elif step == "count":
            for index, cut in self.cuts:
                cut.expect(self.tables[index], self.place.size)
            self.tables = {}
        elif step == "collect":
            searched, below, *bits = zip(*found, strict=True)
            if bits:
                self.undecided = np.cumsum([each.shape[1] for each in bits[0]]), np.concatenate(bits[0], axis=1)
            settled = [
                cut.settle(less, keys)
                for (_, cut), less, keys in zip(
                    self.cuts, np.sum(below, axis=0).tolist(), zip(*searched, strict=True), strict=True
                )
            ]
            if not all(settled):
                self.undecided = None
                self.steps[number + 1 : number + 1] = ["count", "collect"]

    def ranges(self, key: Callable[[Cut], int | None]) -> list[tuple[int, int] | None]:
        """`bounds` of all models: of those of which nothing is dropped, everything."""
        return [self.bounds(index, key) if index in self.sparse else EVERY_KEY for index in range(len(self.density))]

    def bounds(self, index: int, key: Callable[[Cut], int | None]) -> tuple[int, int] | None:
        """The range of magnitudes that is kept of a model if `key` says which key divides a cut; None where it does not know."""
        low, high = self.low[index], self.high[index]
        begin, end = key(low) if low else 0, key(high)
        if begin is None or end is None:
            return None
        if high.flip:
            begin, end = 2**31 - end, 2**31 - begin
        return begin, max(end - begin, 0)

    def keep(self, part: Part, base: Array, models: Sequence[Array]) -> Kept:
        ranges = self.ranges(lambda cut: cut.bound(part))
        if all(ranges):
            return Kept(self.factors, ranges=ranges)
        masks = {index: self.chosen(index, part, base, models[index]) for index in self.sparse}
        return Kept(self.factors, chosen=self.every_mask(masks, base.size))

    def norm(self, index: int, part: Part, base: Array, model: Array) -> tuple[float, float]:
        return kernels.norms(base, model, self.chosen(index, part, base, model))

    def kept(self, index: int) -> float:
        low, high = self.low[index], self.high[index]
        return (high.rank - (low.rank if low else 0)) / max(self.place.size, 1)

    def chosen(self, index: int, part: Part, base: Array, model: Array) -> Array:
        """Boolean mask of what is kept of a part."""
        return self.marked(index, lambda cut, keys: cut.before(part, keys), base, model)

    def marked(self, index: int, before: Callable[[Cut, Array], Array], base: Array, model: Array) -> Array:
        """Boolean mask of what is kept of weights, if `before` marks those with the given keys that are before a cut."""
        low, high = self.low[index], self.high[index]
        keys = keys_of(base, model, high.flip)
        mask = before(high, keys)
        if low:
            mask &= ~before(low, keys)
        return mask


class Top(Ranked):
    """The int(density n) weights of the largest magnitude (TIES, arXiv 2306.01708, section 3); as in mergekit, at least one unless density is 0."""

    def __init__(self, place: Place, draw: Draw, *, density: SharePerModel = 1.0, rescale: Rescale = False) -> None:
        super().__init__(place, draw, density, rescale)
        self.cut(
            [None] * len(density), [Cut(max(int(share * place.size), int(share > 0)), DESCENDING) for share in density]
        )


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
        starts = [
            max(place.size - count - int(outliers * place.size), 0) for count, outliers in zip(kept, gamma, strict=True)
        ]
        self.cut(
            [Cut(start) for start in starts], [Cut(start + count) for start, count in zip(starts, kept, strict=True)]
        )


class Dropped(Sparsifier):
    """Each weight with probability `density` (DARE, arXiv 2311.03099, where 1 - density is the drop rate p).

    `rescale` defaults to the paper's: it is unbiased, and what a weight becomes does not depend on which others are dropped. mergekit's,
    `true`, needs another pass, for which what is dropped is kept as one bit a weight; here it is the same in expectation.
    """

    def __init__(self, place: Place, draw: Draw, *, density: SharePerModel = 1.0, rescale: Rescale = "density") -> None:
        super().__init__(place, draw, density, rescale)
        self.masks: dict[tuple[int, int], Array] = {}
        self.passes = int(bool(self.sparse) and self.restores_norm)

    def kept(self, index: int) -> float:
        return self.density[index]

    def look(self, number: int, part: Part, base: Array, models: Array) -> list[tuple[float, float]]:
        found = []
        for index in self.sparse:
            chosen, sums = self.drop(index, part, base, models[index])
            self.masks[index, part.index] = np.packbits(chosen)
            found.append(sums)
        return found

    def conclude(self, number: int, found: list[list[tuple[float, float]]]) -> None:
        self.restore_norms(found)

    def keep(self, part: Part, base: Array, models: Sequence[Array]) -> Kept:
        if self.passes:
            masks = {
                index: np.unpackbits(self.masks.pop((index, part.index)), count=part.size).view(bool)
                for index in self.sparse
            }
        else:
            masks = {index: self.drop(index, part, base, models[index])[0] for index in self.sparse}
        return Kept(self.factors, chosen=self.every_mask(masks, part.size))

    def drop(self, index: int, part: Part, base: Array, model: Array) -> tuple[Array, tuple[float, float] | None]:
        """Mask of what is kept of a part; if norms are restored, the sums of magnitudes before and after."""
        chosen = self.draw(index, part.start, part.size, below=self.density[index])
        return chosen.astype(self.mask, copy=False), kernels.norms(base, model, chosen) if self.restores_norm else None


class RankDropped(Dropped):
    """Each weight with a probability that is linear in its rank by magnitude in its row, from density - epsilon to density + epsilon.

    Source: DELLA, arXiv 2406.11617, section 3.1. A row is the last axis; the only weight of a row is kept by `density`. Magnitudes that
    differ by less than one part in 32 share their mean rank: so no row needs sorting, and a row's mean probability is the density. A
    probability is a multiple of 2^-16, for a weight takes 16 random bits.

    mergekit's `rescale` is not the same in expectation here: the larger weights, kept more often, remain too large, the others too small.
    """

    unit = "row"

    def __init__(
        self,
        place: Place,
        draw: Draw,
        *,
        density: SharePerModel = 1.0,
        epsilon: NotNegativePerModel = 0.15,
        rescale: Rescale = "density",
    ) -> None:
        super().__init__(place, draw, density=density, rescale=rescale)
        self.epsilon = epsilon
        self.row = place.shape[-1] if place.shape else 1
        if rescale == "density" and self.row > 1:
            # The mask has the probabilities, by which is divided.
            self.mask = np.uint16
            self.factors = [2.0**16 if index in self.sparse else 1.0 for index in range(len(density))]

    @classmethod
    def check(cls, *, density: Sequence[float], epsilon: Sequence[float], **_: Any) -> None:
        for share, spread in zip(density, epsilon, strict=True):
            # Density 0 and 1, nothing and everything, need no epsilon.
            if share not in (0, 1) and not 0 < share - spread <= share + spread < 1:
                raise UserError(
                    f"epsilon is {spread:g} with density {share:g}: density - epsilon and density + epsilon must lie between 0 and 1."
                )

    def drop(self, index: int, part: Part, base: Array, model: Array) -> tuple[Array, tuple[float, float] | None]:
        density, epsilon = self.density[index], self.epsilon[index]
        if self.row == 1 or density == 0:
            return super().drop(index, part, base, model)
        chosen, sums = np.empty(part.size, self.mask), np.zeros(2) if self.restores_norm else None
        low, step = np.float32((density - epsilon) * 2**16), np.float32(2 * epsilon / (self.row - 1) * 2**16)
        kernels.choose_by_rank(base, model, self.draw(index, part.start, part.size), self.row, low, step, chosen, sums)
        return chosen, sums
