"""Norms and cosines, from products of task vectors or models summed over a tensor or all.

Shapes: `C` weights of a chunk, `M` models without the base.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from langmerge.merging.expressions import task_vectors
from langmerge.merging.lazy import kernels
from langmerge.merging.passes.base import Draw, Pass, Preparation
from langmerge.merging.registry import Share
from langmerge.merging.tensors import Array, Chunk, TensorInfo


class Products(Preparation):
    """The products of every two task vectors, summed over the tensor.

    Attributes:
        products: (M, M), filled in by the pass.
    """

    passes = "one"

    def __init__(self, tensor: TensorInfo, draw: Draw) -> None:
        super().__init__(tensor, draw)
        self.products = np.zeros((0, 0))

    def first_pass(self) -> Pass | None:
        return SumProducts(self)

    def chunk_products(self, base: Array | None, models: Array) -> Array:
        """The products in a chunk, (M, M)."""
        return products(base, models)


class SumProducts(Pass):
    """Adds up the products of all chunks."""

    def __init__(self, preparation: Products) -> None:
        self.preparation = preparation

    def scan(self, chunk: Chunk, base: Array | None, models: Array) -> Array:
        return self.preparation.chunk_products(base, models)

    def finish(self, scans: list[Array]) -> None:
        if scans:
            # Exactly rounded sums do not depend on the order of the terms.
            self.preparation.products = np.array(
                [[math.fsum(terms) for terms in zip(*row, strict=True)] for row in zip(*scans, strict=True)]
            )


class Gram(Products):
    """The products of every two task vectors, or without a base, models, of the tensor."""

    def for_chunk(self, chunk: Chunk, base: Array | None, models: Array) -> Array:
        return self.products


class StockProducts(Products):
    """The products of the tensor (M, M) and None; or with `filter_wise`, those of each row (R, M,
    M) and the shape of the rows (R, K).
    """

    passes = "one; none with `filter_wise`"

    def __init__(self, tensor: TensorInfo, draw: Draw, *, filter_wise: bool = False) -> None:
        super().__init__(tensor, draw)
        self.by_row = filter_wise
        self.row = tensor.shape[-1] if tensor.shape else 1

    @property
    def unit(self) -> str:
        return "row" if self.by_row else "weight"

    def first_pass(self) -> Pass | None:
        return None if self.by_row else super().first_pass()

    def for_chunk(self, chunk: Chunk, base: Array, models: Array) -> tuple[Array, tuple[int, int] | None]:
        if not self.by_row:
            return self.products, None
        tau = task_vectors(base, models).reshape(len(models), -1, self.row).astype(np.float64)
        with np.errstate(invalid="ignore"):  # an error later
            return np.einsum("irk,jrk->rij", tau, tau), tau.shape[1:]


class Cosine(Products):
    """The cosine between the base and the other model, flattened; 0 if one is all zeros."""

    def chunk_products(self, base: Array, models: Array) -> Array:
        return products(None, [base, models[0]])

    def for_chunk(self, chunk: Chunk, base: Array, models: Array) -> float:
        (square, product), (_, other) = self.products
        return product / math.sqrt(square * other) if square and other else 0.0


class EdgeBlend(Cosine):
    """The base's share of the arc to the other model, and their cosine where it is needed.

    The share is `t_outer` in the first and the last layer, `t_inner` in the layers next to them, 1
    in all other layers and in the final norm, and 0 in embeddings and head: the matrices outside
    the layers.
    """

    passes = "one over the four outermost layers"

    def __init__(self, tensor: TensorInfo, draw: Draw, *, t_outer: Share = 0.3, t_inner: Share = 0.5) -> None:
        super().__init__(tensor, draw)
        self.share = 0.0 if tensor.layer is None and len(tensor.shape) == 2 else 1.0
        if tensor.layer is not None:
            self.share = {0: t_outer, 1: t_inner}.get(min(tensor.layer, tensor.layers - 1 - tensor.layer), 1.0)
        self.needs_cosine = 0 < self.share < 1

    def first_pass(self) -> Pass | None:
        return super().first_pass() if self.needs_cosine else None

    def for_chunk(self, chunk: Chunk, base: Array, models: Array) -> tuple[float, float]:
        return self.share, super().for_chunk(chunk, base, models) if self.needs_cosine else 1.0


class SquaredNorms(Products):
    """||tau_i||^2 of each task vector, over the whole model."""

    whole_model = True
    passes = "one over the whole model"

    def for_chunk(self, chunk: Chunk, base: Array, models: Array) -> list[float]:
        return self.products.diagonal().tolist()


def products(base: Array | None, models: Sequence[Array]) -> Array:
    """Products of every two task vectors of a chunk, or without a base, models, (M, M) fp64."""
    sums = np.zeros((len(models), len(models)))
    kernels.products(base, tuple(models), sums)
    return sums
