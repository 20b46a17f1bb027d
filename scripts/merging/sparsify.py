"""What the sparsifying methods share: which weights of a task vector are kept, and the rescaling of those that are."""

from __future__ import annotations

import numpy as np

from common import UserError
from merging.registry import Array


def smallest(values: Array, count: int) -> Array:
    """Boolean mask, in the shape of `values`, of its `count` smallest; of equal ones, those with the lowest index come first."""
    flat = values.reshape(-1)
    if count <= 0 or count >= flat.size:
        return np.full(values.shape, count > 0)
    threshold = np.partition(flat, count - 1)[count - 1]
    mask = flat < threshold
    ties = np.flatnonzero(flat == threshold)
    mask[ties[: count - np.count_nonzero(mask)]] = True
    return mask.reshape(values.shape)


def largest_magnitudes(delta: Array, density: float) -> Array:
    """Mask of the int(density n) weights of the largest magnitude (TIES, arXiv 2306.01708, section 3)."""
    return smallest(-np.abs(delta), int(density * delta.size))


def without_outliers(delta: Array, density: float, gamma: float) -> Array:
    """Mask of the ranks [n - k - g, n - g) by ascending magnitude, k = int(density n), g = int(gamma n) (Breadcrumbs, arXiv 2312.06795).

    Where n - k - g < 0, ranks [0, k) are kept: the density is honoured before gamma. Density 1 keeps everything, as in mergekit.
    """
    if density == 1:
        return np.full(delta.shape, True)
    kept = int(density * delta.size)
    start = max(delta.size - kept - int(gamma * delta.size), 0)
    magnitude = np.abs(delta)
    return smallest(magnitude, start + kept) & ~smallest(magnitude, start)


def keep_probability(delta: Array, density: float, epsilon: float) -> Array:
    """Probability by which DELLA keeps each weight: linear in its rank by magnitude in its row, density - epsilon to density + epsilon.

    Source: arXiv 2406.11617, section 3.1. A row is the last axis; equal magnitudes rank by index; the only weight of a row is kept by `density`.

    Raises:
        UserError: a probability would not be strictly between 0 and 1 (density 0 and 1, nothing and everything, need no epsilon).
    """
    if density in (0, 1):
        return np.full(delta.shape, density, np.float32)
    if not 0 < density - epsilon <= density + epsilon < 1:
        raise UserError(
            f"epsilon is {epsilon:g} with density {density:g}: density - epsilon and density + epsilon must lie between 0 and 1."
        )
    rows = np.atleast_1d(delta)
    order = np.argsort(np.abs(rows), axis=-1, kind="stable")
    ranks = np.empty(rows.shape, np.float32)
    np.put_along_axis(ranks, order, np.arange(rows.shape[-1], dtype=np.float32), axis=-1)
    share = ranks / (rows.shape[-1] - 1) if rows.shape[-1] > 1 else np.full(rows.shape, 0.5, np.float32)
    return (density - epsilon + 2 * epsilon * share).reshape(delta.shape)


def keep(delta: Array, mask: Array, rescale: bool) -> Array:
    """The task vector with what `mask` leaves out set to 0; with `rescale`, scaled back to the L1 norm that it had."""
    kept = np.where(mask, delta, np.float32(0))
    if not rescale:
        return kept
    before, after = (float(np.abs(values).sum(dtype=np.float64)) for values in (delta, kept))
    # Below this, mergekit does not rescale either: the quotient would be noise.
    return kept if min(before, after) < 1e-7 else kept * np.float32(before / after)
