"""The merge methods, each a function beside its equation and its source.

Symbols: theta_i, the weights of model i; theta_b, of the base; tau_i = theta_i - theta_b, the task vector. A function gets the same part of
each tensor, in fp32; what it must know of the whole tensor, a survey has found out (sparsify.py, geometry.py). Names, defaults and semantics
are mergekit 0.1.5's, except that equal magnitudes are always ordered by their index (mergekit's sort is not stable) and that random numbers
depend on the seed alone (mergekit's on the order of its work).

To add a method, write its function here: its parameters, their checks and its messages come from its signature (registry.py).
"""

from __future__ import annotations

import math

import numpy as np

from merging.arithmetic import shifted, shifted_by_elected, weighted_sum
from merging.geometry import Cosine
from merging.registry import METHODS, Method, NotNegative, PerModel, Share, check_parameters, method
from merging.sparsify import Crumbs, Dropped, RankDropped, Top
from merging.survey import Array

__all__ = ["METHODS", "Method", "check_parameters"]


# ---- averages


@method
def linear(models: Array, *, weight: PerModel, normalize: bool = True) -> Array:
    """Weighted average: sum_i w_i theta_i, divided by sum_i w_i with `normalize`.

    Source: model soups, arXiv 2203.05482. With instruct weight 1 and language weight w, w = 1 is half and half, and four languages
    with w = .25 are a half of instruct and an eighth of each. `normalize: false` with weights that sum to 1 is the literal simplex of
    the paper's equation 1.
    """
    return weighted_sum(models, weight, normalize)


@method
def slerp(base: Array, other: Array, cosine: Cosine, *, t: Share) -> Array:
    """Spherical interpolation from the base (t = 0) to the other model (t = 1) by the angle phi between them.

    sin((1 - t) phi) / sin(phi) theta_b + sin(t phi) / sin(phi) theta; linear where |cos phi| > .9995, for sin(phi) is near 0 there.
    Source: Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985.
    """
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
    # t times a reciprocal, as torch divides: to mergekit's bit. And not base + share * (other - base): so that a share of 1 gives the
    # other's weight to the bit.
    share = np.minimum((np.float32(1) / np.maximum(np.abs(other - base), np.float32(1e-6))) * np.float32(t), np.float32(1))
    return share * other + (1 - share) * base


# ---- task vectors, added up


@method
def task_arithmetic(base: Array, models: Array, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0) -> Array:
    """theta_b + lambda sum_i w_i tau_i. Source: arXiv 2212.04089.

    DIPLomA (theta_lang + alpha (theta_inst - theta_b)) is this with the instruct model's weight alpha and the language model's 1;
    so are Chat Vector and Param-Delta with alpha = 1.
    """
    return shifted(base, lambda_, models - base, weight, normalize)


@method
def dare_linear(
    base: Array, models: Array, keep: Dropped, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Array:
    """theta_b + lambda sum_i w_i DARE(tau_i): each weight of a task vector is kept with probability `density`. Source: arXiv 2311.03099."""
    return shifted(base, lambda_, keep(models - base), weight, normalize)


@method
def breadcrumbs(
    base: Array, models: Array, keep: Crumbs, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Array:
    """theta_b + lambda sum_i w_i B(tau_i): B drops a task vector's largest share `gamma` and then its smallest, until `density` remains.

    Source: arXiv 2312.06795. With density 1 nothing is dropped, whatever gamma, as in mergekit.
    """
    return shifted(base, lambda_, keep(models - base), weight, normalize)


@method
def della_linear(
    base: Array, models: Array, keep: RankDropped, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Array:
    """theta_b + lambda sum_i w_i DELLA(tau_i): dropping as in `dare_linear`, but the larger a weight in its row, the likelier it is kept.

    Source: arXiv 2406.11617 without its election.
    """
    return shifted(base, lambda_, keep(models - base), weight, normalize)


# ---- task vectors, with a sign elected for each weight


@method
def ties(base: Array, models: Array, keep: Top, *, weight: PerModel, normalize: bool = True, lambda_: float = 1.0) -> Array:
    """theta_b + lambda elect_i(w_i top(tau_i)): top keeps the share `density` of the largest magnitudes of a task vector.

    Source: arXiv 2306.01708; for elect, see arithmetic.shifted_by_elected.
    """
    return shifted_by_elected(base, lambda_, keep(models - base), weight, normalize)


@method
def dare_ties(
    base: Array, models: Array, keep: Dropped, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Array:
    """theta_b + lambda elect_i(w_i DARE(tau_i)). The agreeing are summed, not averaged, unless `normalize`. Source: arXiv 2311.03099."""
    return shifted_by_elected(base, lambda_, keep(models - base), weight, normalize)


@method
def breadcrumbs_ties(
    base: Array, models: Array, keep: Crumbs, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Array:
    """theta_b + lambda elect_i(w_i B(tau_i)), with the B of `breadcrumbs`. Source: mergekit's breadcrumbs_ties."""
    return shifted_by_elected(base, lambda_, keep(models - base), weight, normalize)


@method
def della(
    base: Array, models: Array, keep: RankDropped, *, weight: PerModel, normalize: bool = True, lambda_: float = 1.0
) -> Array:
    """theta_b + lambda elect_i(w_i DELLA(tau_i)), with the DELLA of `della_linear`. Source: arXiv 2406.11617."""
    return shifted_by_elected(base, lambda_, keep(models - base), weight, normalize)
