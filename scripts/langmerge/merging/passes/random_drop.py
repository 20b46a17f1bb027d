"""Pruning at random (DARE, DELLA).

Shapes: `C` weights of a chunk, `M` models without the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.expressions import Pruning
from langmerge.merging.lazy import kernels
from langmerge.merging.passes.base import Draw, Pass
from langmerge.merging.passes.pruning import Pruner
from langmerge.merging.registry import NotNegativePerModel, Rescale, SharePerModel
from langmerge.merging.tensors import Array, Chunk, TensorInfo


class RandomDrop(Pruner):
    """Keeps each weight with probability `density`.

    Source: DARE, arXiv 2311.03099, where 1 - density is the drop rate p.

    `rescale` is the paper's by default: it is unbiased, and a weight's value does not depend on
    which others are dropped. mergekit's, `true`, is the same in expectation but needs a pass of its
    own, from which the masks are kept as one bit per weight.

    Attributes:
        masks: for (model, index of a chunk), the mask of that pass as packed bits.
    """

    passes = "none; one with `rescale: true`"

    def __init__(
        self, tensor: TensorInfo, draw: Draw, *, density: SharePerModel = 1.0, rescale: Rescale = "density"
    ) -> None:
        super().__init__(tensor, draw, density, rescale)
        self.masks: dict[tuple[int, int], Array] = {}

    def first_pass(self) -> Pass | None:
        return DropAndNorm(self) if self.sparse and self.restores_norm else None

    def prune(self, chunk: Chunk, base: Array, models: Sequence[Array]) -> Pruning:
        if self.restores_norm:
            masks = {
                model: np.unpackbits(self.masks.pop((model, chunk.index)), count=chunk.size).view(bool)
                for model in self.sparse
            }
        else:
            masks = {model: self.drop(model, chunk, base, models[model])[0] for model in self.sparse}
        return Pruning(self.factors, masks=self.all_masks(masks, chunk.size))

    def drop(self, model: int, chunk: Chunk, base: Array, bits: Array) -> tuple[Array, tuple[float, float] | None]:
        """The mask of a chunk, (C,); its L1 norms before and after pruning if they are restored."""
        mask = self.draw(model, chunk.start, chunk.size, below=self.density[model])
        norms = kernels.norms(base, bits, mask) if self.restores_norm else None
        return mask.astype(self.mask_type, copy=False), norms

    def kept_share(self, model: int) -> float:
        return self.density[model]


class RankedDrop(RandomDrop):
    """Keeps each weight with a probability that grows linearly with its rank by magnitude.

    It grows from density - epsilon to density + epsilon in each row. Source: DELLA, arXiv
    2406.11617, section 3.1.

    A row is the last axis; the only weight of a row is kept with probability `density`. Magnitudes
    that differ by less than one part in 32 share their mean rank, so that no row needs sorting and
    a row's mean probability is the density. A probability is a multiple of 2^-16, because a weight
    takes 16 random bits.

    mergekit's `rescale: true` is not the same in expectation here: the larger weights, which are
    kept more often, remain too large, and the others too small.
    """

    unit = "row"

    def __init__(
        self,
        tensor: TensorInfo,
        draw: Draw,
        *,
        density: SharePerModel = 1.0,
        epsilon: NotNegativePerModel = 0.15,
        rescale: Rescale = "density",
    ) -> None:
        super().__init__(tensor, draw, density=density, rescale=rescale)
        self.epsilon = epsilon
        self.row = tensor.shape[-1] if tensor.shape else 1
        if rescale == "density" and self.row > 1:
            # The masks hold the probabilities, in units of 2^-16, and the weights are divided by
            # them.
            self.mask_type = np.uint16
            self.factors = [2.0**16 if model in self.sparse else 1.0 for model in range(len(density))]

    @classmethod
    def check(cls, *, density: Sequence[float], epsilon: Sequence[float], **_: Any) -> None:
        for share, spread in zip(density, epsilon, strict=True):
            # Density 0 and 1, nothing and everything, need no epsilon.
            if share not in (0, 1) and not 0 < share - spread <= share + spread < 1:
                raise UserError(
                    f"epsilon is {spread:g} with density {share:g}: density - epsilon and density + epsilon must be "
                    "between 0 and 1."
                )

    def drop(self, model: int, chunk: Chunk, base: Array, bits: Array) -> tuple[Array, tuple[float, float] | None]:
        density, epsilon = self.density[model], self.epsilon[model]
        if self.row == 1 or density == 0:
            return super().drop(model, chunk, base, bits)
        mask, norms = np.empty(chunk.size, self.mask_type), np.zeros(2) if self.restores_norm else None
        low, step = np.float32((density - epsilon) * 2**16), np.float32(2 * epsilon / (self.row - 1) * 2**16)
        kernels.choose_by_rank(base, bits, self.draw(model, chunk.start, chunk.size), self.row, low, step, mask, norms)
        return mask, norms


class DropAndNorm(Pass):
    """Draws all masks, and adds up L1 norms before and after pruning, which are restored."""

    def __init__(self, pruner: RandomDrop) -> None:
        self.pruner = pruner

    def scan(self, chunk: Chunk, base: Array, models: Array) -> list[tuple[float, float]]:
        norms = []
        for model in self.pruner.sparse:
            mask, sums = self.pruner.drop(model, chunk, base, models[model])
            self.pruner.masks[model, chunk.index] = np.packbits(mask)
            norms.append(sums)
        return norms

    def finish(self, scans: list[list[tuple[float, float]]]) -> None:
        self.pruner.restore_norms(scans)
