"""Pruning task vectors and rescaling what is kept: what all ways of pruning have in common.

Shapes: `C` weights of a chunk, `M` models without the base.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from langmerge.merging.expressions import Pruning
from langmerge.merging.passes.base import Draw, Preparation
from langmerge.merging.tensors import Array, Chunk, TensorInfo

NORM_NOISE = 1e-7
"""L1 norm below which a quotient of norms would be noise: no rescaling then, as in mergekit."""


class Pruner(Preparation):
    """Prunes the task vector of each model; density 1 keeps everything, as in mergekit.

    Rescaling: `true` or `l1`, mergekit's, multiplies the kept weights by one factor that restores
    the L1 norm of the tensor's task vector. `density`, as in the papers of DARE and DELLA, divides
    each weight by the probability with which it is kept.

    Attributes:
        sparse: indices of the models with a density below 1.
        factors: (M,) what is kept of each model is multiplied by.
        restores_norm: whether the factors follow from L1 norms, before and after pruning.
        mask_type: type of the masks (Pruning.masks).
    """

    mask_type: type = bool

    def __init__(self, tensor: TensorInfo, draw: Draw, density: Sequence[float], rescale: bool | str) -> None:
        super().__init__(tensor, draw)
        self.density = density
        self.sparse = [model for model, share in enumerate(density) if share < 1]
        self.factors = [1 / share if rescale == "density" and share else 1.0 for share in density]
        self.restores_norm = rescale in (True, "l1")

    def restore_norms(self, scans: list[list[tuple[float, float]]]) -> None:
        """Set the factors from the L1 norms of each chunk and sparse model, before and after
        pruning."""
        for model, norms in zip(self.sparse, zip(*scans, strict=True), strict=bool(scans)):
            before, after = (math.fsum(column) for column in zip(*norms, strict=True))
            self.factors[model] = 1.0 if min(before, after) < NORM_NOISE else before / after

    def for_chunk(self, chunk: Chunk, base: Array, models: Array) -> Pruning | None:
        return self.prune(chunk, base, models) if self.sparse else None

    def prune(self, chunk: Chunk, base: Array, models: Sequence[Array]) -> Pruning:
        """The pruning of a chunk, where some model has a density below 1."""
        raise NotImplementedError

    def all_masks(self, masks: dict[int, Array], size: int) -> list[Array]:
        """Masks for every model, given those of `sparse`: everything is kept of the others."""
        return [masks[model] if model in masks else np.ones(size, self.mask_type) for model in range(len(self.density))]
