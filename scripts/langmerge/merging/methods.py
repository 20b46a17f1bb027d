"""The merge methods, each a function beside its equation and its source.

Symbols: theta_i, the weights of model i; theta_b, those of the base; tau_i = theta_i - theta_b, the
task vector.
Shapes: `C` weights of a chunk, `M` models without the base.

A function gets the bits of one chunk of each source, `base` (C,), `models` (M, C) or `other` (C,),
and from the preparation that its signature names what must be known of the whole tensor (passes/).
It returns an expression (expressions.py). Names, defaults and semantics are those of mergekit
0.1.5, with three exceptions: equal magnitudes are always ordered by their index (mergekit's sort is
not stable), random numbers depend on the seed alone (mergekit's depend on the order of its work,
too), and DARE and DELLA rescale as in their papers (passes/random_drop.py).

To add a method, write its function here: its parameters, their checks, its error messages and its
paragraph in docs/methods.md come from its signature and its docstring (registry.py,
methods_page.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from langmerge.merging.expressions import Expression, Nearswap, Values, WeightedSum, fp32, task_vectors
from langmerge.merging.passes.layers import LayerMatrix, LayerSwap
from langmerge.merging.passes.magnitudes import Breadcrumbs, Top
from langmerge.merging.passes.products import Cosine, EdgeBlend, SquaredNorms
from langmerge.merging.passes.random_drop import RandomDrop, RankedDrop
from langmerge.merging.passes.variance import VarianceSelection
from langmerge.merging.registry import METHODS, Method, NotNegative, PerModel, Share, check_parameters, method
from langmerge.merging.selection import arcee_fusion, passthrough
from langmerge.merging.spectral import isotropic, orthogonalized
from langmerge.merging.spherical import karcher, model_stock, multislerp, nuslerp
from langmerge.merging.tensors import Array

__all__ = [
    "METHODS",
    "Method",
    "arcee_fusion",
    "check_parameters",
    "karcher",
    "model_stock",
    "multislerp",
    "nuslerp",
    "passthrough",
]


# ---- averages


@method
def linear(models: Array, *, weight: PerModel, normalize: bool = True) -> Expression:
    """Weighted average of the models.

    sum_i w_i theta_i, divided by sum_i w_i with `normalize`. With instruct weight 1 and language
    weight w, w = 1 is half and half, and four languages with w = 0.25 are one half instruct and one
    eighth each. `normalize: false` with weights that sum to 1 is equation 1 of "Merge and
    Conquer".

    Source: model soups, arXiv 2203.05482.
    """
    return WeightedSum(models, weight, normalize=normalize)


@method
def slerp(base: Array, other: Array, cosine: Cosine, *, t: Share) -> Expression:
    """Spherical interpolation from the base (t = 0) to the other model (t = 1).

    sin((1 - t) phi) / sin(phi) theta_b + sin(t phi) / sin(phi) theta, phi being the angle between
    the two models' tensors; linear where |cos phi| > 0.9995, because sin(phi) is near 0 there.

    Source: Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985.
    """
    return on_arc(base, other, cosine, t)


@method
def nearswap(base: Array, other: Array, *, t: NotNegative) -> Expression:
    """The other model's weights where they are near the base's.

    theta_b + clamp(t / max(|tau|, 1e-6), 0, 1) tau: a weight that differs by less than t becomes
    the other model's; one that differs by more moves by t. So with t = 0.5, the setting of the
    paper, nearly every weight of an LLM is the other model's.

    Source: mergekit's nearswap.
    """
    return Nearswap(base, other, t)


# ---- sums of task vectors


@method
def task_arithmetic(
    base: Array, models: Array, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Expression:
    """The base plus a weighted sum of task vectors.

    theta_b + lambda sum_i w_i tau_i. DIPLomA (theta_lang + alpha (theta_inst - theta_b)) is this
    method with weight alpha for the instruct model and 1 for the language model; Chat Vector and
    Param-Delta are the same with alpha = 1.

    Source: arXiv 2212.04089.
    """
    return WeightedSum(models, weight, base, lambda_, normalize)


@method
def dare_linear(
    base: Array, models: Array, pruning: RandomDrop, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Expression:
    """Task arithmetic on randomly pruned task vectors.

    theta_b + lambda sum_i w_i DARE(tau_i). DARE keeps each weight of a task vector with probability
    `density`, and rescales the weights that it keeps.

    Source: arXiv 2311.03099.
    """
    return WeightedSum(models, weight, base, lambda_, normalize, pruning=pruning)


@method
def breadcrumbs(
    base: Array, models: Array, pruning: Breadcrumbs, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Expression:
    """Task arithmetic without the largest and the smallest weights of the task vectors.

    theta_b + lambda sum_i w_i B(tau_i). B drops the largest magnitudes of a task vector, a share of
    `gamma`, and then the smallest ones until `density` remains. With density 1 nothing is dropped,
    whatever gamma, as in mergekit.

    Source: arXiv 2312.06795.
    """
    return WeightedSum(models, weight, base, lambda_, normalize, pruning=pruning)


@method
def della_linear(
    base: Array, models: Array, pruning: RankedDrop, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Expression:
    """DELLA without the election of signs.

    theta_b + lambda sum_i w_i DELLA(tau_i). DELLA drops weights at random, as DARE does, but keeps
    each with a probability that grows with its rank by magnitude in its row, from density - epsilon
    to density + epsilon.

    Source: arXiv 2406.11617.
    """
    return WeightedSum(models, weight, base, lambda_, normalize, pruning=pruning)


# ---- sums of task vectors, with a sign elected for each weight


@method
def ties(
    base: Array, models: Array, pruning: Top, *, weight: PerModel, normalize: bool = True, lambda_: float = 1.0
) -> Expression:
    """Trim, elect signs and merge.

    theta_b + lambda elect_i(w_i top(tau_i)). top keeps the largest magnitudes of a task vector, a
    share of `density`. elect adds up, weight by weight, the terms that have the sign of the sum of
    all terms (a sum of 0 counts as positive, a term of 0 has neither sign); with `normalize` it
    divides by the sum of their w_i.

    Source: arXiv 2306.01708.
    """
    return WeightedSum(models, weight, base, lambda_, normalize, elect=True, pruning=pruning)


@method
def dare_ties(
    base: Array, models: Array, pruning: RandomDrop, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Expression:
    """DARE with the election of TIES.

    theta_b + lambda elect_i(w_i DARE(tau_i)). The terms that agree in sign are summed; they are
    averaged only with `normalize`.

    Source: arXiv 2311.03099.
    """
    return WeightedSum(models, weight, base, lambda_, normalize, elect=True, pruning=pruning)


@method
def breadcrumbs_ties(
    base: Array, models: Array, pruning: Breadcrumbs, *, weight: PerModel, normalize: bool = False, lambda_: float = 1.0
) -> Expression:
    """Breadcrumbs with the election of TIES.

    theta_b + lambda elect_i(w_i B(tau_i)), with the B of `breadcrumbs`.

    Source: mergekit's breadcrumbs_ties.
    """
    return WeightedSum(models, weight, base, lambda_, normalize, elect=True, pruning=pruning)


@method
def della(
    base: Array, models: Array, pruning: RankedDrop, *, weight: PerModel, normalize: bool = True, lambda_: float = 1.0
) -> Expression:
    """DELLA: pruning at random by rank, with the election of TIES.

    theta_b + lambda elect_i(w_i DELLA(tau_i)), with the DELLA of `della_linear`.

    Source: arXiv 2406.11617.
    """
    return WeightedSum(models, weight, base, lambda_, normalize, elect=True, pruning=pruning)


# ---- layers of two models


@method
def layer_swap(base: Array, other: Array, share: LayerSwap) -> Expression:
    """The outer layers of the other model, a language model, around the inner ones of the base.

    theta_b + s (theta - theta_b) with a share s for each layer, the base being the instruct model:
    s = 1 in the first `bottom` and the last `top` layers, 0.5 in the `transition` layers next to
    them at each inner border, and 0 in the rest. The defaults are for 32 layers: scale them for a
    model of another depth. A model with too few layers is refused. Tensors outside the layers go
    with the layers beside them, embeddings with the bottom ones, the final norm and the head with
    the top ones. That is our choice, because what we read of the paper does not say; the numbers
    are at second hand, too. mergekit has no such method.

    Source: arXiv 2410.01335.
    """
    return WeightedSum([base, other], (1 - share, share))


@method
def edge_blend(base: Array, other: Array, prepared: EdgeBlend) -> Expression:
    """Slerp on the two outermost layers at each end; between them the base, the instruct model.

    The base's share of the arc is `t_outer` in the first and the last layer and `t_inner` in the
    layers next to them. The final norm is the base's; embeddings and head are the other model's. In
    the source, special tokens keep the instruct model's embeddings, as with the recipe's
    `special_tokens: instruct`.

    Source: ElChat, GitHub chat-cve.
    """
    share, cosine = prepared
    return on_arc(base, other, cosine, 1 - share)


# ---- task vectors, weighted by their norms


@method
def metagpt(base: Array, models: Array, squares: SquaredNorms, *, lambda_: float = 1.0) -> Expression:
    """Task arithmetic with weights from the norms of the task vectors.

    theta_b + lambda sum_i w_i tau_i with w_i = ||tau_i||^2 / sum_j ||tau_j||^2, the norms being
    those of the whole model.

    Source: MetaGPT, arXiv 2406.11385.
    """
    # If all task vectors are 0, any weights will do.
    total = math.fsum(squares) or 1.0
    return WeightedSum(models, [square / total for square in squares], base, lambda_)


@method
def sce(base: Array, models: Array, prepared: VarianceSelection) -> Expression:
    """Select, calculate and erase: the weights in which task vectors differ most, weighted by
    norms.

    theta_b + sum_i w_i e_i(s(tau_i)) / sum_i w_i, tensor by tensor, both sums over the terms that
    are not erased. s selects the weights in which the task vectors differ most (by variance over
    the models), a share of `select_topk`; w_i = ||s(tau_i)||^2 / sum_j ||s(tau_j)||^2; e_i erases
    weights without the sign of sum_i s(tau_i), as in TIES. Where the mean squares of a tensor's
    task vectors sum to less than `floor`, all models have the same weight: mergekit's floor is
    1e-6, which those of a fine-tuned LLM often do not reach; the paper's is 0. With one task vector
    and select_topk < 1 nothing is left.

    Source: arXiv 2408.07990.
    """
    tau, weight = prepared
    with np.errstate(invalid="ignore", over="ignore"):  # an error later
        positive = tau.sum(axis=0) >= 0
        shares = np.float32(weight)[:, np.newaxis] * np.where(positive, tau > 0, tau < 0)
        # Where nothing takes part, 0 is divided by 1e-6, as in mergekit.
        move = (tau * shares).sum(axis=0) / np.maximum(shares.sum(axis=0), np.float32(1e-6))
        return Values(fp32(base) + move, [base, *models])


# ---- matrices of task vectors, by their singular values


@method
def iso_c(base: Array, models: Array, shape: LayerMatrix, *, lambda_: float = 1.0) -> Expression:
    """Isotropic merge: the sum of the task vectors with all singular values made equal.

    theta_b + lambda mean(S) U V^T for a matrix in a layer, with U S V^T = sum_i tau_i. S has as
    many values as the shorter side of the matrix, zeros included. All other tensors (embeddings,
    head, norms, biases) become theta_b plus lambda times the mean of the task vectors, as in the
    paper's implementations for LLMs. The eigendecomposition of the shorter side takes about 6 s of
    a core for 2048 x 8192, and some 45 s for 4096 x 14336. Each thread has one matrix in memory, at
    some 40 bytes per weight.

    Source: Iso-C, arXiv 2502.04959.
    """
    return of_matrices(base, models, shape, lambda_, lambda tau: isotropic(tau.sum(axis=0, dtype=np.float64)))


@method
def tsv_m(base: Array, models: Array, shape: LayerMatrix, *, lambda_: float = 1.0) -> Expression:
    """Merge of the top singular vectors of all task vectors, made orthogonal to each other.

    theta_b + lambda U' S V'^T for a matrix in a layer; all other tensors as in `iso_c`. U, S and V
    hold the top singular vectors and values of every task vector side by side, rank / M of each of
    the M models; U' and V' are the matrices with orthonormal columns nearest to U and V. Directions
    that no task vector determines, where U or V has dependent columns, are left out. With two
    models it takes about three times as long as `iso_c`, at some 60 bytes per weight.

    Source: TSV-M, arXiv 2412.00081.
    """
    return of_matrices(base, models, shape, lambda_, orthogonalized)


def of_matrices(
    base: Array, models: Array, shape: tuple[int, ...] | None, lambda_: float, merge: Callable[[Array], Array]
) -> Expression:
    """theta_b + lambda merge(tau), tau (M, rows, columns) and the result (rows, columns); without a
    shape, theta_b plus lambda times the mean task vector."""
    mean = WeightedSum(models, [1.0] * len(models), base, lambda_, normalize=True)
    if shape is None:
        return mean
    tau = task_vectors(base, models)
    if not np.isfinite(tau).all():
        return mean  # its evaluation says which source is not finite
    move = merge(tau.reshape(-1, *shape)).ravel()
    move *= lambda_
    move += fp32(base)
    return Values(move.astype(np.float32), [base, *models])


def on_arc(base: Array, other: Array, cosine: float, t: float) -> Expression:
    """The point at t on the arc between two models with that cosine."""
    shares = 1 - t, t
    if abs(cosine) <= 0.9995:
        angle = math.acos(cosine)
        shares = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return WeightedSum([base, other], shares)
