"""Merge methods that select whole weights or layers of a model. Symbols as in methods.py."""

from __future__ import annotations

from langmerge.merging.expressions import Expression, Pruning, WeightedSum
from langmerge.merging.passes.importance import Importance
from langmerge.merging.registry import PerModel, method
from langmerge.merging.tensors import Array


@method
def arcee_fusion(base: Array, other: Array, important: Importance) -> Expression:
    """The other model's weights where they are important, the base's elsewhere.

    theta_b + [s >= q_2 + 1.5 (q_3 - q_1)] tau, with the importance s of a weight, |tau| times the
    divergence of the softmax of its row from that of the base's row, and the quartiles q of s in
    the tensor. Of tensors with more than a million weights mergekit takes the quartiles from a
    random sample; here it is evenly spread. The divergence is computed in fp64, and mergekit with
    `dtype: float64` selects the same weights. In fp32, rounding decides, and mergekit selects other
    weights on another processor.

    Source: mergekit's arcee_fusion.
    """
    return WeightedSum([other], [1.0], base, pruning=Pruning([1.0], masks=[important]))


@method
def passthrough(other: Array, *, scale: PerModel = 1.0) -> Expression:
    """One model as it is, or times a factor.

    scale theta. Slices put layers of one or several models on top of one another, each slice with a
    scale of its own.

    Source: mergekit's passthrough.
    """
    return WeightedSum([other], scale)
