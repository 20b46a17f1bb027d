"""Singular values of matrices, in fp64.

Shapes: `R` rows, `K` columns, `r` the number of singular values that are kept.

They come from the Gram matrix of the smaller side: for M = U S V^T, M^T M = V S^2 V^T has the
eigenvectors V, and U = M V / S. That takes a fraction of the time and memory of a textbook SVD. The
price is that singular values below 1e-7 of the largest one, whose squares are lost in the rounding
of the Gram matrix, cannot be told from 0: their directions are left out.

BLAS with several threads adds up in another order. It gets one thread here, so that the result does
not depend on the number of cores. (The type of processor may show in the last bits of fp64.)
Several tensors are merged at the same time anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from langmerge.merging.tensors import Array

NOISE = 1e-7


@cache
def use_one_blas_thread() -> None:
    """Give BLAS one thread, for good: undoing it would change what runs in another thread."""
    from threadpoolctl import threadpool_limits  # sets an environment variable when it is imported

    threadpool_limits(1, user_api="blas")


def decompose(matrix: Array, rank: int | None = None) -> tuple[Array, Array, Array]:
    """U (R, r), S (r,) and V (K, r) with matrix (R, K) = U diag(S) V^T, the largest of S first.

    Noise is left out, and no more than `rank` singular values are kept.
    """
    if matrix.shape[0] < matrix.shape[1]:
        v, s, u = decompose(matrix.T, rank)
        return u, s, v
    use_one_blas_thread()
    squares, v = np.linalg.eigh(matrix.T @ matrix)
    s = np.sqrt(np.maximum(squares[::-1], 0))
    count = min(np.count_nonzero(s > NOISE * s.max(initial=0)), s.size if rank is None else rank)
    s, v = s[:count], v[:, ::-1][:, :count]
    u = matrix @ v
    u /= s
    return u, s, v


def isotropic(matrix: Array) -> Array:
    """mean(S) U V^T: a matrix (R, K) with all its singular values replaced by their mean."""
    u, s, v = decompose(matrix)
    u *= s.sum() / min(matrix.shape)
    return u @ v.T


def polar(matrix: Array) -> Array:
    """U V^T: the nearest matrix (R, K) with orthonormal columns."""
    u, _, v = decompose(matrix)
    return u @ v.T


def orthogonalized(matrices: Sequence[Array]) -> Array:
    """The sum of all matrices (R, K), each cut to an equal share of their rank, with their singular
    vectors made orthogonal to each other."""
    rank = max(min(matrices[0].shape) // len(matrices), 1)
    parts = zip(*(decompose(matrix.astype(np.float64), rank) for matrix in matrices), strict=True)
    u, s, v = (np.concatenate(part, axis=-1) for part in parts)
    return polar(u) * s @ polar(v).T
