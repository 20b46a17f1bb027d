"""Pruning by magnitude (TIES, Breadcrumbs), with thresholds between ranks.

Shapes: `C` weights of a chunk, `M` models without the base, `U` undecided weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from langmerge.merging.expressions import EVERY_KEY, Pruning
from langmerge.merging.lazy import kernels
from langmerge.merging.passes.base import Draw, MergingPass, Pass
from langmerge.merging.passes.pruning import Pruner
from langmerge.merging.passes.thresholds import (
    DESCENDING,
    WINDOW,
    WINDOWS,
    SearchRange,
    Threshold,
    collect,
    keys_of,
    upper_histogram,
)
from langmerge.merging.registry import Rescale, SharePerModel
from langmerge.merging.tensors import Array, Chunk, TensorInfo

MAX_UNDECIDED = 1 / 4
"""The largest share of a tensor's weights that may wait in memory until thresholds are known."""


class MagnitudePruner(Pruner):
    """Keeps a range of ranks by magnitude, from the threshold `low` to `high`.

    Equal magnitudes are ordered by their index.

    Attributes:
        low, high: thresholds of each model; no `low` is rank 0.
        thresholds: (model, threshold) for all of the models in `sparse`.
    """

    passes = (
        "a sample and one pass, in which a tensor of up to 128 MB is merged at once; one more with `rescale: true`, and "
        "two more where the sample misled; none with density 1"
    )

    low: Sequence[Threshold | None]
    high: Sequence[Threshold]

    def set_thresholds(self, low: Sequence[Threshold | None], high: Sequence[Threshold]) -> None:
        self.low, self.high = low, high
        self.thresholds = [(model, each) for model in self.sparse for each in (low[model], high[model]) if each]

    def first_pass(self) -> Pass | None:
        if not self.sparse or not self.tensor.size:
            return None
        return Sample(self) if self.tensor.size > 4 * WINDOWS * WINDOW else Count(self)

    def thresholds_of(self, model: int) -> list[Threshold]:
        """A model's thresholds, which have one order."""
        return [threshold for other, threshold in self.thresholds if other == model]

    def set_search(self, ranges: Sequence[SearchRange]) -> None:
        """Set where all thresholds are expected."""
        for (_, threshold), search in zip(self.thresholds, ranges, strict=True):
            threshold.search = search

    def key_ranges(self, key: Callable[[Threshold], int | None]) -> list[tuple[int, int] | None]:
        """`key_range` for every model: everything is kept of those with density 1."""
        return [self.key_range(model, key) if model in self.sparse else EVERY_KEY for model in range(len(self.density))]

    def key_range(self, model: int, key: Callable[[Threshold], int | None]) -> tuple[int, int] | None:
        """The magnitudes that are kept of a model, as in Pruning.key_ranges.

        Args:
            key: tells from which key on weights are after a threshold; None if it cannot tell, and
                then the result is None, too.
        """
        low, high = self.low[model], self.high[model]
        begin, end = key(low) if low else 0, key(high)
        if begin is None or end is None:
            return None
        if high.flip:
            begin, end = 2**31 - end, 2**31 - begin
        return begin, max(end - begin, 0)

    def prune(self, chunk: Chunk, base: Array, models: Sequence[Array]) -> Pruning:
        key_ranges = self.key_ranges(lambda threshold: threshold.bound(chunk))
        if all(key_ranges):
            return Pruning(self.factors, key_ranges=key_ranges)
        masks = {model: self.mask(model, chunk, base, models[model]) for model in self.sparse}
        return Pruning(self.factors, masks=self.all_masks(masks, base.size))

    def mask(self, model: int, chunk: Chunk, base: Array, bits: Array) -> Array:
        """Mask of what is kept of a chunk, (C,) bool."""
        return self.mask_between(model, lambda threshold, keys: threshold.before(chunk, keys), base, bits)

    def mask_between(self, model: int, before: Callable[[Threshold, Array], Array], base: Array, bits: Array) -> Array:
        """Mask of the weights that are kept; `before` says which are before a threshold."""
        low, high = self.low[model], self.high[model]
        keys = keys_of(base, bits, high.flip)
        mask = before(high, keys)
        if low:
            mask &= ~before(low, keys)
        return mask

    def kept_share(self, model: int) -> float:
        low, high = self.low[model], self.high[model]
        return (high.rank - (low.rank if low else 0)) / max(self.tensor.size, 1)


class Top(MagnitudePruner):
    """Keeps the int(density n) largest of n magnitudes.

    As in mergekit, at least one unless density is 0. Source: TIES, arXiv 2306.01708, section 3.
    """

    def __init__(
        self, tensor: TensorInfo, draw: Draw, *, density: SharePerModel = 1.0, rescale: Rescale = False
    ) -> None:
        super().__init__(tensor, draw, density, rescale)
        counts = [max(int(share * tensor.size), int(share > 0)) for share in density]
        self.set_thresholds([None] * len(density), [Threshold(count, DESCENDING) for count in counts])


class Breadcrumbs(MagnitudePruner):
    """Keeps the ranks [n - k - g, n - g) of n by ascending magnitude.

    k = int(density n), g = int(gamma n). Where n - k - g < 0, it keeps the ranks [0, k): density
    has priority over gamma. Density 1 keeps everything. Source: Breadcrumbs, arXiv 2312.06795.
    """

    def __init__(
        self,
        tensor: TensorInfo,
        draw: Draw,
        *,
        density: SharePerModel = 1.0,
        gamma: SharePerModel = 0.01,
        rescale: Rescale = False,
    ) -> None:
        super().__init__(tensor, draw, density, rescale)
        counts = [int(share * tensor.size) for share in density]
        starts = [
            max(tensor.size - count - int(outliers * tensor.size), 0)
            for count, outliers in zip(counts, gamma, strict=True)
        ]
        ends = [start + count for start, count in zip(starts, counts, strict=True)]
        self.set_thresholds([Threshold(start) for start in starts], [Threshold(end) for end in ends])


# ---- the passes


class Sample(Pass):
    """Estimates from a sample where each threshold is."""

    def __init__(self, pruner: MagnitudePruner) -> None:
        self.pruner = pruner
        # The fewer samples, the wider the margins: large tensors get more, so that little is
        # collected.
        self.windows = max(WINDOWS, pruner.tensor.size >> 18), WINDOW

    def scan(self, chunk: Chunk, base: Array, models: Array) -> list[SearchRange]:
        ranges = []
        for model in self.pruner.sparse:
            thresholds = self.pruner.thresholds_of(model)
            sample = keys_of(base, models[model], thresholds[0].flip).reshape(-1, WINDOW)
            ranges += [each.range_from_sample(sample, self.pruner.tensor.size) for each in thresholds]
        return ranges

    def finish(self, scans: list[list[SearchRange]]) -> Pass:
        self.pruner.set_search(*scans)
        return Collect(self.pruner)


class Count(Pass):
    """Counts the upper halves of all keys, which tell for certain where each threshold is."""

    def __init__(self, pruner: MagnitudePruner) -> None:
        self.pruner = pruner
        self.histograms: dict[int, Array] = {}
        self.lock = Lock()

    def scan(self, chunk: Chunk, base: Array, models: Array) -> None:
        for model in self.pruner.sparse:
            flip = self.pruner.thresholds_of(model)[0].flip
            histogram = upper_histogram(keys_of(base, models[model], flip))
            with self.lock:
                self.histograms[model] = self.histograms.get(model, 0) + histogram

    def finish(self, scans: list[None]) -> Pass:
        size = self.pruner.tensor.size
        self.pruner.set_search(
            [each.range_from_histogram(self.histograms[model], size) for model, each in self.pruner.thresholds]
        )
        return Collect(self.pruner)


class Collect(MergingPass):
    """Collects the keys near each threshold, and finds it among them, or else counts all keys.

    All other weights are on a known side of it, so this pass can merge them.
    """

    def __init__(self, pruner: MagnitudePruner) -> None:
        self.pruner = pruner
        self.thresholds = pruner.thresholds
        # Counts of keys, unlike a sample, do not tell which of many equal ones to search: too many
        # would be undecided.
        near = sum(threshold.search.share for _, threshold in self.thresholds)
        self.can_merge = not pruner.restores_norm and near < MAX_UNDECIDED
        self.undecided: tuple[Array, Array] | None = None

    def collect(self, chunk: Chunk, base: Array, models: Array) -> tuple[Array, Array, Array]:
        searches = [(models[model], self.pruner.thresholds_of(model)) for model in self.pruner.sparse]
        return collect(searches, chunk, base, models)

    def keys(self, chunk: Chunk, bits: Array, model: int, threshold: Threshold) -> Array:
        """The keys of collected weights, bits (M + 1, U), near one of the thresholds."""
        return threshold.search.keys_among(chunk, keys_of(bits[0], bits[model + 1], threshold.flip))

    def scan(self, chunk: Chunk, base: Array, models: Array) -> Any:
        _, bits, below = self.collect(chunk, base, models)
        # Differences of bf16 weights are often equal: each with its count takes less memory.
        keys = [
            np.unique(self.keys(chunk, bits, model, threshold), return_counts=True)
            for model, threshold in self.thresholds
        ]
        return keys, below

    def scan_and_prepare(self, chunk: Chunk, base: Array, models: Array) -> tuple[Any, Pruning, Array]:
        indices, bits, below = self.collect(chunk, base, models)
        keys = [(self.keys(chunk, bits, model, threshold), None) for model, threshold in self.thresholds]
        # Any key in a search range will do: the weights in it are undecided.
        key_ranges = self.pruner.key_ranges(lambda threshold: threshold.search.keys_in(chunk)[0])
        return (keys, below, bits), Pruning(self.pruner.factors, key_ranges=key_ranges), indices

    def finish(self, scans: list[Any]) -> Pass | None:
        collected, below, *bits = zip(*scans, strict=True)
        if bits:
            sizes = [each.shape[1] for each in bits[0]]
            self.undecided = np.cumsum(sizes), np.concatenate(bits[0], axis=1)
        settled = [
            threshold.settle(count, keys)
            for (_, threshold), count, keys in zip(
                self.thresholds, np.sum(below, axis=0).tolist(), zip(*collected, strict=True), strict=True
            )
        ]
        if not all(settled):
            self.undecided = None
            return Count(self.pruner)
        return Norms(self.pruner) if self.pruner.restores_norm else None

    def resolve(self) -> tuple[Array, Sequence[Array], Pruning]:
        ends, (base, *models) = self.undecided
        self.undecided = None

        def divide(threshold: Threshold, keys: Array) -> Array:
            return threshold.divide(keys, ends[threshold.chunk - 1] if threshold.chunk else 0, ends[threshold.chunk])

        masks = {model: self.pruner.mask_between(model, divide, base, models[model]) for model in self.pruner.sparse}
        return base, models, Pruning(self.pruner.factors, masks=self.pruner.all_masks(masks, base.size))


class Norms(Pass):
    """Adds up L1 norms before and after pruning, for the rescaling that restores them."""

    def __init__(self, pruner: MagnitudePruner) -> None:
        self.pruner = pruner

    def scan(self, chunk: Chunk, base: Array, models: Array) -> list[tuple[float, float]]:
        return [
            kernels.norms(base, models[model], self.pruner.mask(model, chunk, base, models[model]))
            for model in self.pruner.sparse
        ]

    def finish(self, scans: list[list[tuple[float, float]]]) -> None:
        self.pruner.restore_norms(scans)
