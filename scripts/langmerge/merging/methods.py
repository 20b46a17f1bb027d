"""The merge methods, each a function beside its equation and its source.

Symbols: theta_i, the weights of model i; theta_b, of the base; tau_i = theta_i - theta_b, the task vector. A function gets the bits of the same
part of each tensor (merged.py), and from a survey what it must know of the whole tensor (sparsify.py, geometry.py). Names, defaults and
semantics are mergekit 0.1.5's, except that equal magnitudes are always ordered by their index (mergekit's sort is not stable), that random
numbers depend on the seed alone (mergekit's on the order of its work), and that DARE and DELLA rescale as in their papers
(sparsify.Dropped).

To add a method, write its function here: its parameters, their checks and its messages come from its signature (registry.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from langmerge.merging.geometry import Cosine, Edges, Energies, Matrix, Selected, Swapped, task_vectors
from langmerge.merging.merged import Combination, Merged, Nearswap, Values, fp32
from langmerge.merging.registry import METHODS, Method, NotNegative, PerModel, Share, check_parameters, method
from langmerge.merging.sparsify import Crumbs, Dropped, RankDropped, Top
from langmerge.merging.spectral import isotropic, orthogonalized
from langmerge.merging.survey import Array

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
def slerp(base: Array, other: Array, cosine: Cosine, *, t: Share) -> Merged:
    """Spherical interpolation from the base (t = 0) to the other model (t = 1) by the angle phi between them.

    sin((1 - t) phi) / sin(phi) theta_b + sin(t phi) / sin(phi) theta; linear where |cos phi| > .9995, for sin(phi) is near 0 there.
    Source: Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985.
    """
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
def task_arithmetic(
    base: Array, models: Array, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Merged:
    """theta_b + lambda sum_i w_i tau_i. Source: arXiv 2212.04089.

    DIPLomA (theta_lang + alpha (theta_inst - theta_b)) is this with the instruct model's weight alpha and the language model's 1;
    so are Chat Vector and Param-Delta with alpha = 1.
    """
    return Combination(models, weight, base, lambda_, normalize)


@method
def dare_linear(
    base: Array, models: Array, kept: Dropped, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Merged:
    """theta_b + lambda sum_i w_i DARE(tau_i): each weight of a task vector is kept with probability `density`. Source: arXiv 2311.03099."""
    return Combination(models, weight, base, lambda_, normalize, kept=kept)


@method
def breadcrumbs(
    base: Array, models: Array, kept: Crumbs, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Merged:
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
def ties(
    base: Array, models: Array, kept: Top, *, weight: PerModel, normalize: bool = True, lambda_: float = 1.0
) -> Merged:
    """theta_b + lambda elect_i(w_i top(tau_i)): top keeps the share `density` of the largest magnitudes of a task vector.

    Source: arXiv 2306.01708; for elect, see merged.Combination.
    """
    return Combination(models, weight, base, lambda_, normalize, elect=True, kept=kept)


@method
def dare_ties(
    base: Array, models: Array, kept: Dropped, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Merged:
    """theta_b + lambda elect_i(w_i DARE(tau_i)). The agreeing are summed, not averaged, unless `normalize`. Source: arXiv 2311.03099."""
    return Combination(models, weight, base, lambda_, normalize, elect=True, kept=kept)


@method
def breadcrumbs_ties(
    base: Array, models: Array, kept: Crumbs, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Merged:
    """theta_b + lambda elect_i(w_i B(tau_i)), with the B of `breadcrumbs`. Source: mergekit's breadcrumbs_ties."""
    return Combination(models, weight, base, lambda_, normalize, elect=True, kept=kept)


@method
def della(
    base: Array, models: Array, kept: RankDropped, *, weight: PerModel, normalize: bool = True, lambda_: float = 1.0
) -> Merged:
    """theta_b + lambda elect_i(w_i DELLA(tau_i)), with the DELLA of `della_linear`. Source: arXiv 2406.11617."""
    return Combination(models, weight, base, lambda_, normalize, elect=True, kept=kept)


# ---- layers of two models


@method
def layer_swap(base: Array, other: Array, share: Swapped) -> Merged:
    """The outer layers of the other model, a language one, around the inner ones of the base, the instruct model.

    The first `bottom` = 5 and the last `top` = 2 layers are the other model's; the `transition` = 1 layers next to them, at each inner
    border, are half of each; the rest is the base's. For a model of another depth than 32, scale them: mergekit has no such method, and a
    model with too few layers is refused. Source: arXiv 2410.01335, the numbers at second hand. What lies outside the layers goes with
    those beside it, embeddings with the bottom, final norm and head with the top: our choice, for what we read of the paper does not say.
    Costs what a copy costs: no pass beforehand.
    """
    return Combination([base, other], (1 - share, share))


@method
def edge_blend(base: Array, other: Array, known: Edges) -> Merged:
    """Slerp on the two outermost layers at each end, the base, the instruct model, between them, embeddings and head of the other model.

    The base's share of the arc is `t_outer` = .3 in the first and the last layer and `t_inner` = .5 in the ones beside them. The final norm
    is the base's. Source: ElChat, GitHub chat-cve; there, special tokens keep the instruct model's embeddings, as with the recipe's
    `special_tokens: instruct`. Costs what a copy costs, and a pass over those four layers.
    """
    share, cosine = known
    return between(base, other, cosine, 1 - share)


# ---- task vectors, weighed by their size


@method
def metagpt(base: Array, models: Array, energies: Energies, *, lambda_: float = 1.0) -> Merged:
    """theta_b + lambda sum_i w_i tau_i with w_i = ||tau_i||^2 / sum_j ||tau_j||^2, over the whole model. Source: MetaGPT, arXiv 2406.11385.

    Costs what `task_arithmetic` costs, and a pass over all models beforehand.
    """
    # Without any task vector, any weights will do.
    total = math.fsum(energies) or 1.0
    return Combination(models, [energy / total for energy in energies], base, lambda_)


@method
def sce(base: Array, models: Array, selected: Selected) -> Merged:
    """theta_b + sum_i w_i e_i(s(tau_i)) / sum of the w_i that take part, tensor by tensor.

    s selects the share `select_topk` of the weights, those whose task vectors differ most (by variance over the models); w_i =
    ||s(tau_i)||^2 / sum_j ||s(tau_j)||^2; e_i erases what has not the sign of sum_i s(tau_i), as in TIES. Source: arXiv 2408.07990.
    mergekit gives all models the same weight where the mean squares of a tensor's task vectors sum to less than 1e-6, as a fine-tuned
    LLM's often do: that is `floor: 1e-6`. It is 0 by default, as in the paper. With one task vector and select_topk < 1 nothing is left.
    Costs a pass, or with select_topk < 1 three or four, and numpy's arithmetic.
    """
    tau, weight = selected
    with np.errstate(invalid="ignore", over="ignore"):  # an error later
        positive = tau.sum(axis=0) >= 0
        shares = np.float32(weight)[:, np.newaxis] * np.where(positive, tau > 0, tau < 0)
        # As in mergekit: where nothing takes part, 0 is divided.
        move = (tau * shares).sum(axis=0) / np.maximum(shares.sum(axis=0), np.float32(1e-6))
        return Values(fp32(base) + move, [base, *models])


# ---- task vectors' matrices, by their singular values


@method
def iso_c(base: Array, models: Array, shape: Matrix, *, lambda_: float = 1.0) -> Merged:
    """theta_b + lambda mean(S) U V^T for a layer's matrix, U S V^T being sum_i tau_i; lambda times the mean of the task vectors for all else.

    All else: embeddings, head, norms, biases. Source: Iso-C, arXiv 2502.04959, with embeddings and head as its implementations for LLMs
    have them. S has as many values as the shorter side, zeros included. Costs one eigendecomposition of the shorter side for each matrix,
    and products of its size: for 2048 x 8192 about 6 s of a core, so for 4096 x 14336 some 45 s. In memory is one matrix for each thread,
    with some 40 bytes a weight.
    """
    return of_matrices(base, models, shape, lambda_, lambda tau: isotropic(tau.sum(axis=0, dtype=np.float64)))


@method
def tsv_m(base: Array, models: Array, shape: Matrix, *, lambda_: float = 1.0) -> Merged:
    """theta_b + lambda U' S V'^T for a layer's matrix; lambda times the mean of the task vectors for all else (see `iso_c`).

    U, S and V are the top singular vectors and values of every task vector, rank / (number of models) of each, beside each other; U' and V'
    are the matrices with orthonormal columns nearest to U and V. Source: TSV-M, arXiv 2412.00081. Where U or V has dependent columns, the
    directions that no task vector determines are left out. Costs an eigendecomposition for each model and two more: with two models, about
    three times the time of `iso_c`, and some 60 bytes a weight.
    """
    return of_matrices(base, models, shape, lambda_, orthogonalized)


def of_matrices(
    base: Array, models: Array, shape: tuple[int, ...] | None, lambda_: float, merged: Callable[[Array], Array]
) -> Merged:
    """The base and lambda times what is `merged` from the task vectors of a matrix, or for what is none, their mean."""
    mean = Combination(models, [1.0] * len(models), base, lambda_, normalize=True)
    if shape is None:
        return mean
    tau = task_vectors(base, models)
    if not np.isfinite(tau).all():
        return mean  # which will say whose fault it is
    move = merged(tau.reshape(-1, *shape)).ravel()
    move *= lambda_
    move += fp32(base)
    return Values(move.astype(np.float32), [base, *models])


def between(base: Array, other: Array, cosine: float, t: float) -> Merged:
    """Of two models with that cosine, the one at t on the arc between them."""
    shares = 1 - t, t
    if abs(cosine) <= 0.9995:
        angle = math.acos(cosine)
        shares = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return Combination([base, other], shares)
