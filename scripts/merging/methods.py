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

from merging.geometry import Cosine
from merging.merged import Combination, Merged, Nearswap
from merging.registry import METHODS, Method, NotNegative, PerModel, Share, check_parameters, method
from merging.sparsify import Crumbs, Dropped, RankDropped, Top
from merging.survey import Array

__all__ = ["METHODS", "Method", "check_parameters"]


# ---- averages


@method
def linear(models: Array, *, weight: PerModel, normalize: bool = True) -> Merged:
    """Weighted average: sum_i w_i theta_i, divided by sum_i w_i with `normalize`.

    Source: model soups, arXiv 2203.05482. With instruct weight 1 and language weight w, w = 1 is half and half, and four languages
    with w = .25 are a half of instruct and an eighth of each. `normalize: false` with weights that sum to 1 is the literal simplex of
    the paper's equation 1.
    """
    return Combination(models, weight, normalize=normalize)


@method
def slerp(base: Array, other: Array, known: Cosine, *, t: Share) -> Merged:
    """Spherical interpolation from the base (t = 0) to the other model (t = 1) by the angle phi between them.

    sin((1 - t) phi) / sin(phi) theta_b + sin(t phi) / sin(phi) theta; linear where |cos phi| > .9995, for sin(phi) is near 0 there.
    Source: Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985.
    """
    _, cosine = known
    return between(base, other, cosine, t)


@method
def nearswap(base: Array, other: Array, *, t: NotNegative) -> Merged:
    """Weights of the other model where it is near the base: theta_b + clamp(t / max(|tau|, 1e-6), 0, 1) tau.

    A weight that differs by less than t is taken over whole; one that differs by more moves by t. So with t = .5, the paper's
    setting, nearly every weight of an LLM is the other model's. Source: mergekit's nearswap.
    """
    return Nearswap(base, other, t)


# ---- task vectors, added up


@method
def task_arithmetic(base: Array, models: Array, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0) -> Merged:
    """theta_b + lambda sum_i w_i tau_i. Source: arXiv 2212.04089.

    DIPLomA (theta_lang + alpha (theta_inst - theta_b)) is this with the instruct model's weight alpha and the language model's 1;
    so are Chat Vector and Param-Delta with alpha = 1.
    """
    return Combination(models, weight, base, lambda_, normalize)


@method
def dare_linear(base: Array, models: Array, kept: Dropped, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0) -> Merged:
    """theta_b + lambda sum_i w_i DARE(tau_i): each weight of a task vector is kept with probability `density`. Source: arXiv 2311.03099."""
    return Combination(models, weight, base, lambda_, normalize, kept=kept)


@method
def breadcrumbs(base: Array, models: Array, kept: Crumbs, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0) -> Merged:
    """theta_b + lambda sum_i w_i B(tau_i): B drops a task vector's largest share `gamma` and then its smallest, until `density` remains.

    Source: arXiv 2312.06795. With density 1 nothing is dropped, whatever gamma, as in mergekit.
    """
    return Combination(models, weight, base, lambda_, normalize, kept=kept)


@method
def della_linear(
    base: Array, models: Array, kept: RankDropped, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Merged:
    """theta_b + lambda sum_i w_i DELLA(tau_i): dropping as in `dare_linear`, but the larger a weight in its row, the likelier it is kept.

    Source: arXiv 2406.11617 without its election.
    """
    return Combination(models, weight, base, lambda_, normalize, kept=kept)


# ---- task vectors, with a sign elected for each weight


@method
def ties(base: Array, models: Array, kept: Top, *, weight: PerModel, normalize: bool = True, lambda_: float = 1.0) -> Merged:
    """theta_b + lambda elect_i(w_i top(tau_i)): top keeps the share `density` of the largest magnitudes of a task vector.

    Source: arXiv 2306.01708; for elect, see merged.Combination.
    """
    return Combination(models, weight, base, lambda_, normalize, elect=True, kept=kept)


@method
def dare_ties(base: Array, models: Array, kept: Dropped, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0) -> Merged:
    """theta_b + lambda elect_i(w_i DARE(tau_i)). The agreeing are summed, not averaged, unless `normalize`. Source: arXiv 2311.03099."""
    return Combination(models, weight, base, lambda_, normalize, elect=True, kept=kept)


@method
def breadcrumbs_ties(
    base: Array, models: Array, kept: Crumbs, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Merged:
    """theta_b + lambda elect_i(w_i B(tau_i)), with the B of `breadcrumbs`. Source: mergekit's breadcrumbs_ties."""
    return Combination(models, weight, base, lambda_, normalize, elect=True, kept=kept)


@method
def della(base: Array, models: Array, kept: RankDropped, *, weight: PerModel, normalize: bool = True, lambda_: float = 1.0) -> Merged:
    """theta_b + lambda elect_i(w_i DELLA(tau_i)), with the DELLA of `della_linear`. Source: arXiv 2406.11617."""
    return Combination(models, weight, base, lambda_, normalize, elect=True, kept=kept)


def between(base: Array, other: Array, cosine: float, t: float) -> Merged:
    """Of two models with that cosine, the one at t on the arc between them."""
    shares = 1 - t, t
    if abs(cosine) <= 0.9995:
        angle = math.acos(cosine)
        shares = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return Combination(np.stack([base, other]), shares)
