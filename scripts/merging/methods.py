"""The merge methods, each a function beside its equation and its source.

Symbols: theta_i, the weights of model i; theta_b, of the base; tau_i = theta_i - theta_b, the task vector. Everything is
per tensor and in fp32. Names, defaults and semantics are mergekit 0.1.5's, except that equal magnitudes are always ordered by
their index (mergekit's sort is not stable) and that random numbers depend on the seed alone (mergekit's on the order of its work).

To add a method, write its function here: its parameters, their checks and its messages come from its signature (registry.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated

import numpy as np

from common import UserError
from merging.registry import (
    METHODS,
    Array,
    Between,
    Method,
    PerModel,
    Share,
    SharePerModel,
    Uniform,
    check_parameters,
    method,
)
from merging.sparsify import keep, keep_probability, largest_magnitudes, without_outliers

__all__ = ["METHODS", "Method", "check_parameters"]

NotNegative = Annotated[float, Between(low=0)]
NotNegativePerModel = Annotated[PerModel, Between(low=0)]


# ---- averages


@method
def linear(models: Iterable[Array], *, weight: PerModel, normalize: bool = True) -> Array:
    """Weighted average: sum_i w_i theta_i, divided by sum_i w_i with `normalize`.

    Source: model soups, arXiv 2203.05482. With instruct weight 1 and language weight w, w = 1 is half and half, and four languages
    with w = .25 are a half of instruct and an eighth of each.
    """
    total = weighted_sum(models, weight)
    return total / divisor(weight) if normalize else total


@method
def slerp(base: Array, other: Array, *, t: Share) -> Array:
    """Spherical interpolation from the base (t = 0) to the other model (t = 1) by the angle phi between them.

    sin((1 - t) phi) / sin(phi) theta_b + sin(t phi) / sin(phi) theta; linear where |cos phi| > .9995, for sin(phi) is near 0 there.
    Source: Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985.
    """
    cosine = dot(base, other) / (length(base) * length(other))
    if abs(cosine) > 0.9995:
        return np.float32(1 - t) * base + np.float32(t) * other
    angle = math.acos(cosine)
    return np.float32(math.sin((1 - t) * angle) / math.sin(angle)) * base + np.float32(math.sin(t * angle) / math.sin(angle)) * other


@method
def nearswap(base: Array, other: Array, *, t: NotNegative) -> Array:
    """Weights of the other model where it is near the base: theta_b + clamp(t / max(|tau|, 1e-6), 0, 1) tau.

    A weight that differs by less than t is taken over whole; one that differs by more moves by t. So with t = .5, the paper's
    setting, nearly every weight of an LLM is the other model's. Source: mergekit's nearswap.
    """
    share = np.minimum(np.float32(t) / np.maximum(np.abs(other - base), np.float32(1e-6)), np.float32(1))
    # Not base + share * (other - base): so that a share of 1 gives the other's weight to the bit.
    return share * other + (1 - share) * base


# ---- task vectors, added up


@method
def task_arithmetic(base: Array, models: Iterable[Array], *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0) -> Array:
    """theta_b + lambda sum_i w_i tau_i. Source: arXiv 2212.04089.

    DIPLomA (theta_lang + alpha (theta_inst - theta_b)) is this with the instruct model's weight alpha and the language model's 1;
    so are Chat Vector and Param-Delta with alpha = 1.
    """
    return base + np.float32(lambda_) * mean_or_sum(task_vectors(base, models), weight, normalize)


@method
def dare_linear(
    base: Array,
    models: Iterable[Array],
    uniform: Uniform,
    *,
    weight: PerModel,
    density: SharePerModel = 1.0,
    normalize: bool = False,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Array:
    """theta_b + lambda sum_i w_i DARE(tau_i): each weight of a task vector is kept with probability `density`.

    Source: arXiv 2311.03099, where 1 - density is the drop rate p. `rescale` is mergekit's, back to the tensor's L1 norm; the paper's, by
    1 / (1 - p), is its expectation.
    """
    deltas = dare(base, models, uniform, density, rescale)
    return base + np.float32(lambda_) * mean_or_sum(deltas, weight, normalize)


@method
def breadcrumbs(
    base: Array,
    models: Iterable[Array],
    *,
    weight: PerModel,
    density: SharePerModel = 1.0,
    gamma: SharePerModel = 0.01,
    normalize: bool = False,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Array:
    """theta_b + lambda sum_i w_i B(tau_i): B drops a task vector's largest share `gamma` and then its smallest, until `density` remains.

    Source: arXiv 2312.06795. With density 1 nothing is dropped, whatever gamma, as in mergekit.
    """
    deltas = crumbs(base, models, density, gamma, rescale)
    return base + np.float32(lambda_) * mean_or_sum(deltas, weight, normalize)


@method
def della_linear(
    base: Array,
    models: Iterable[Array],
    uniform: Uniform,
    *,
    weight: PerModel,
    density: SharePerModel = 1.0,
    epsilon: NotNegativePerModel = 0.15,
    normalize: bool = False,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Array:
    """theta_b + lambda sum_i w_i DELLA(tau_i): dropping as in `dare_linear`, but the larger a weight in its row, the likelier it is kept.

    Source: arXiv 2406.11617 without its election.
    """
    deltas = della_drop(base, models, uniform, density, epsilon, rescale)
    return base + np.float32(lambda_) * mean_or_sum(deltas, weight, normalize)


# ---- task vectors, with a sign elected for each weight


@method
def ties(
    base: Array,
    models: Iterable[Array],
    *,
    weight: PerModel,
    density: SharePerModel = 1.0,
    normalize: bool = True,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Array:
    """theta_b + lambda elect_i(w_i top(tau_i)): top keeps the share `density` of the largest magnitudes of a task vector.

    Source: arXiv 2306.01708; for elect, see `elected`.
    """
    deltas = [
        keep(delta, largest_magnitudes(delta, share), rescale) for delta, share in zip(task_vectors(base, models), density, strict=True)
    ]
    return base + np.float32(lambda_) * elected(deltas, weight, normalize)


@method
def dare_ties(
    base: Array,
    models: Iterable[Array],
    uniform: Uniform,
    *,
    weight: PerModel,
    density: SharePerModel = 1.0,
    normalize: bool = False,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Array:
    """theta_b + lambda elect_i(w_i DARE(tau_i)). The agreeing are summed, not averaged, unless `normalize`. Source: arXiv 2311.03099."""
    deltas = dare(base, models, uniform, density, rescale)
    return base + np.float32(lambda_) * elected(deltas, weight, normalize)


@method
def breadcrumbs_ties(
    base: Array,
    models: Iterable[Array],
    *,
    weight: PerModel,
    density: SharePerModel = 1.0,
    gamma: SharePerModel = 0.01,
    normalize: bool = False,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Array:
    """theta_b + lambda elect_i(w_i B(tau_i)), with the B of `breadcrumbs`. Source: mergekit's breadcrumbs_ties."""
    deltas = crumbs(base, models, density, gamma, rescale)
    return base + np.float32(lambda_) * elected(deltas, weight, normalize)


@method
def della(
    base: Array,
    models: Iterable[Array],
    uniform: Uniform,
    *,
    weight: PerModel,
    density: SharePerModel = 1.0,
    epsilon: NotNegativePerModel = 0.15,
    normalize: bool = True,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Array:
    """theta_b + lambda elect_i(w_i DELLA(tau_i)), with the DELLA of `della_linear`. Source: arXiv 2406.11617."""
    deltas = della_drop(base, models, uniform, density, epsilon, rescale)
    return base + np.float32(lambda_) * elected(deltas, weight, normalize)


# ---- what the equations are made of


def task_vectors(base: Array, models: Iterable[Array]) -> Iterator[Array]:
    """tau_i = theta_i - theta_b, one after the other."""
    return (model - base for model in models)


def dare(base: Array, models: Iterable[Array], uniform: Uniform, density: PerModel, rescale: bool) -> Iterator[Array]:
    for index, (delta, share) in enumerate(zip(task_vectors(base, models), density, strict=True)):
        yield keep(delta, uniform(index, delta.shape) < share, rescale)


def della_drop(
    base: Array, models: Iterable[Array], uniform: Uniform, density: PerModel, epsilon: PerModel, rescale: bool
) -> Iterator[Array]:
    for index, (delta, share, spread) in enumerate(zip(task_vectors(base, models), density, epsilon, strict=True)):
        yield keep(delta, uniform(index, delta.shape) < keep_probability(delta, share, spread), rescale)


def crumbs(base: Array, models: Iterable[Array], density: PerModel, gamma: PerModel, rescale: bool) -> Iterator[Array]:
    for delta, share, outliers in zip(task_vectors(base, models), density, gamma, strict=True):
        yield keep(delta, without_outliers(delta, share, outliers), rescale)


def weighted_sum(tensors: Iterable[Array], weight: PerModel) -> Array:
    return sum(np.float32(w) * tensor for w, tensor in zip(weight, tensors, strict=True))


def mean_or_sum(deltas: Iterable[Array], weight: PerModel, normalize: bool) -> Array:
    total = weighted_sum(deltas, weight)
    return total / divisor(weight) if normalize else total


def divisor(weight: PerModel) -> np.float32:
    """The sum of the weights.

    Raises:
        UserError: it is 0.
    """
    total = math.fsum(weight)
    if abs(total) < 1e-8:
        raise UserError(
            f"the weights {', '.join(f'{w:g}' for w in weight)} sum to 0, and normalize: true divides by their sum. Change one."
        )
    return np.float32(total)


def elected(deltas: Iterable[Array], weight: PerModel, normalize: bool) -> Array:
    """For each weight of a tensor, the sum of the w_i tau_i that have the sign of sum_i w_i tau_i; over the sum of their w_i with `normalize`.

    A sum of 0 counts as positive; a tau_i of 0 agrees with neither sign.
    """
    if normalize:
        divisor(weight)
    weighted = [np.float32(w) * delta for w, delta in zip(weight, deltas, strict=True)]
    positive = sum(weighted) >= 0
    agree = [np.where(positive, delta > 0, delta < 0) for delta in weighted]
    merged = sum(np.where(mask, delta, np.float32(0)) for mask, delta in zip(agree, weighted, strict=True))
    if normalize:
        weights = sum(np.float32(w) * mask for w, mask in zip(weight, agree, strict=True))
        merged /= np.where(weights == 0, np.float32(1), weights)
    return merged


def dot(a: Array, b: Array) -> float:
    # Not np.dot: BLAS adds up in an order that depends on the machine and its threads.
    return float((a * b).sum(dtype=np.float64))


def length(a: Array) -> float:
    """Euclidean length; 1 for a tensor of zeros, which has no direction and is at a right angle to everything."""
    return math.sqrt(dot(a, a)) or 1.0
