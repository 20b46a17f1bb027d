"""Singular values of matrices, in fp64.

They come from the Gram matrix of the smaller side: of M = U S V^T, M^T M = V S^2 V^T has the eigenvectors V, and U = M V / S. That costs a
fraction of a textbook SVD's time and memory. The price is that singular values below 1e-7 of the largest, whose squares are in the rounding of
the Gram matrix, cannot be told from 0: their directions are left out.

BLAS may use several threads, and then adds up in another order: here it has one, so that the number of cores does not show in the result.
(The kind of processor may, in the last bits of fp64.) Tensors are merged beside each other anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from threadpoolctl import threadpool_limits

from langmerge.merging.tensors import Array

NOISE = 1e-7


@cache
def one_thread() -> None:
    """Give BLAS one thread, for good: undoing it in one of langmerge's threads would change what runs in another."""
    threadpool_limits(1, user_api="blas")


def decompose(matrix: Array, rank: int | None = None) -> tuple[Array, Array, Array]:
    """U, S, V with matrix = U diag(S) V^T, the largest of S first; without what is noise, and at most `rank` of them."""
    if matrix.shape[0] < matrix.shape[1]:
        v, s, u = decompose(matrix.T, rank)
        return u, s, v
    one_thread()
    squares, v = np.linalg.eigh(matrix.T @ matrix)
    s = np.sqrt(np.maximum(squares[::-1], 0))
    count = min(np.count_nonzero(s > NOISE * s.max(initial=0)), s.size if rank is None else rank)
    s, v = s[:count], v[:, ::-1][:, :count]
    u = matrix @ v
    u /= s
    return u, s, v


def isotropic(matrix: Array) -> Array:
    """mean(S) U V^T: the matrix with all its singular values replaced by their mean."""
    u, s, v = decompose(matrix)
    u *= s.sum() / min(matrix.shape)
    return u @ v.T


def polar(matrix: Array) -> Array:
    """U V^T: of the matrices with orthonormal columns, the nearest one."""
    u, _, v = decompose(matrix)
    return u @ v.T


def orthogonalized(matrices: Sequence[Array]) -> Array:
    """The sum of all matrices, cut to their top singular vectors, as many as make their rank together, which are made orthogonal."""
    rank = max(min(matrices[0].shape) // len(matrices), 1)
    parts = zip(*(decompose(matrix.astype(np.float64), rank) for matrix in matrices), strict=True)
    u, s, v = (np.concatenate(each, axis=-1) for each in parts)
    return polar(u) * s @ polar(v).T
