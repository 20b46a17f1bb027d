"""Merge methods that interpolate on spheres. Each is a weighted sum of task vectors, or without a
base of models, whose weights follow from the products of every two of them.

Symbols as in methods.py; x_i is tau_i with a base, and theta_i without one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.expressions import Expression, Values, WeightedSum, fp32, task_vectors
from langmerge.merging.passes.products import Gram, StockProducts
from langmerge.merging.registry import Between, Count, NotNegative, PerModel, method
from langmerge.merging.tensors import Array

Two = Annotated[Array, Between(2, 2)]
TwoOrMore = Annotated[Array, Between(low=2)]


@method
def nuslerp(base: Array | None, models: Two, products: Gram, *, weight: PerModel) -> Expression:
    """Spherical interpolation between two models, or between their task vectors.

    sin((1 - t) phi) / sin(phi) x_1 + sin(t phi) / sin(phi) x_2, plus theta_b with a `base_model`,
    with t = w_2 / (w_1 + w_2) and the angle phi between x_1 and x_2; linear where they point in the
    same or in opposite directions. Other than `slerp` it treats both models alike. mergekit's
    interpolation by rows or columns (nuslerp_flatten: false) is not supported.

    Source: mergekit's nuslerp.
    """
    total = math.fsum(weight)
    t = 0.5 if abs(total) < 1e-6 else weight[1] / total
    norms = np.maximum(np.sqrt(products.diagonal()), 1e-7)
    cosine = min(max(products[0, 1] / (norms[0] * norms[1]), -1.0), 1.0)
    shares = [1 - t, t]
    if 1 - cosine**2 > 1e-16:
        angle = math.acos(cosine)
        shares = [math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)]
    return WeightedSum(models, shares, base)


@method
def multislerp(
    base: Array | None,
    models: Array,
    products: Gram,
    *,
    weight: PerModel,
    normalize_weights: bool = True,
    eps: NotNegative = 1e-8,
) -> Expression:
    """Spherical interpolation between any number of models, or task vectors.

    With u_i = x_i / (||x_i|| + eps), m the direction of sum_i w_i u_i and v = sum_i w_i (u_i - (u_i
    m) m): (cos(||v||) m + sin(||v||) v / ||v||) sum_i w_i ||x_i||, plus theta_b with a
    `base_model`. The w_i are divided by their sum with `normalize_weights`.

    Source: mergekit's multislerp.
    """
    if len(weight) == 1:
        return WeightedSum(models, [1.0], base)
    w = np.array(weight, float)
    if normalize_weights:
        w /= w.sum()
    norms = np.sqrt(products.diagonal())
    lengths = norms + eps
    unit = products / np.outer(lengths, lengths)
    size = math.sqrt(max(w @ unit @ w, 0.0))
    if size < eps:
        if len(w) > 2 and norms.any():
            raise UserError(
                "multislerp: the models of a tensor cancel each other, so that no direction lies between them. Change a weight."
            )
        return WeightedSum(models, w.tolist(), base)
    middle = w / size
    tangent = w - (w @ unit @ middle) * middle
    angle = math.sqrt(max(tangent @ unit @ tangent, 0.0)) + eps
    shares = (middle * math.cos(angle) + tangent * (math.sin(angle) / angle)) * (norms @ w) / lengths
    return WeightedSum(models, shares.tolist(), base)


@method
def karcher(models: Array, products: Gram, *, max_iter: Count = 10, tol: NotNegative = 1e-5) -> Expression:
    """The Karcher mean of the models' directions: the point on the sphere with the smallest sum of
    squared angles to them.

    m mean(||theta_i||), with m from at most `max_iter` steps along the mean of the tangents towards
    all theta_i / ||theta_i||, until that is shorter than `tol`.

    Source: arXiv 2603.04972 as cited by mergekit, whose karcher this is.
    """
    norms = np.sqrt(products.diagonal())
    shares = karcher_shares(products, norms, max_iter, tol)
    return WeightedSum(models, shares.tolist())


def karcher_shares(products: Array, norms: Array, max_iter: int, tol: float) -> Array:
    """The weights (M,) whose sum of models is their Karcher mean."""
    if len(norms) == 1:
        return np.ones(1)
    valid = norms > tol
    if not valid.any():
        return np.zeros(len(norms))
    lengths = np.where(valid, norms, 1.0)
    unit = products / np.outer(lengths, lengths)
    alpha = valid / valid.sum()

    def length(shares: Array) -> float:
        return math.sqrt(max(shares @ unit @ shares, 0.0))

    mean = alpha.copy()
    mean = mean / length(mean) if length(mean) >= tol else np.eye(len(norms))[np.argmax(valid)]
    for _ in range(max_iter):
        tangent = np.zeros(len(norms))
        for index in np.flatnonzero(valid):
            dot = min(max(float(unit[index] @ mean), -1.0), 1.0)
            theta = math.acos(dot)
            if theta >= tol:
                step = -dot * mean
                step[index] += 1
                tangent += alpha[index] * theta / math.sin(theta) * step
        size = length(tangent)
        if size < tol:
            break
        mean = math.cos(size) * mean + math.sin(size) * tangent / size
        if length(mean) > tol:
            mean = mean / length(mean)
    return norms.mean() * mean / lengths


@method
def model_stock(base: Array, models: TwoOrMore, prepared: StockProducts) -> Expression:
    """The base moved towards the average of the models, the further the more these agree.

    theta_b + t mean_i(tau_i) with t = M c / (1 + (M - 1) c), c being the mean of the cosines
    between every two task vectors; tensor by tensor, or row by row with `filter_wise`.

    Source: arXiv 2403.19522.
    """
    products, shape = prepared
    count = len(models)
    t = stock_share(products)
    if shape is None:
        return WeightedSum(models, [float(t) / count] * count, base)
    tau = task_vectors(base, models).reshape(count, *shape)
    move = tau.sum(axis=0) / np.float32(count) * t[:, None].astype(np.float32)
    return Values(fp32(base) + move.ravel(), [base, *models])


def stock_share(products: Array) -> Array:
    """t of model_stock for products of task vectors (..., M, M)."""
    count = products.shape[-1]
    norms = np.sqrt(np.diagonal(products, axis1=-2, axis2=-1))
    lengths = np.maximum(norms[..., :, None] * norms[..., None, :], 1e-6)
    pairs: Sequence[Array] = np.triu_indices(count, 1)
    cosine = np.clip(products / lengths, -1, 1)[..., pairs[0], pairs[1]].mean(axis=-1)
    denominator = 1 + (count - 1) * cosine
    singular = np.abs(denominator) < 1e-6
    return np.where(singular, 0.0, count * cosine / np.where(singular, 1.0, denominator))
