"""What the equations are made of: sums over models, and sums over a tensor's weights."""

from __future__ import annotations

import numpy as np

from merging.compiled import compiled
from merging.registry import PerModel, divisor
from merging.survey import Array


def weighted_sum(tensors: Array, weight: PerModel, normalize: bool = False) -> Array:
    """sum_i w_i x_i of the rows x_i of `tensors`, divided by sum_i w_i with `normalize`."""
    total = np.empty(tensors.shape[1], np.float32)
    add_up(tensors, np.array(weight, np.float32), np.float32(divisor(weight) if normalize else 1), total)
    return total


def shifted(base: Array, lambda_: float, deltas: Array, weight: PerModel, normalize: bool) -> Array:
    """theta_b + lambda sum_i w_i x_i; with `normalize`, the sum is divided by sum_i w_i."""
    moved = weighted_sum(deltas, weight, normalize)
    shift(base, np.float32(lambda_), moved)
    return moved


def shifted_by_elected(base: Array, lambda_: float, deltas: Array, weight: PerModel, normalize: bool) -> Array:
    """theta_b + lambda x, where x is, for each weight of a tensor, the sum of the w_i x_i that have the sign of sum_i w_i x_i.

    With `normalize`, it is divided by the sum of their w_i. A sum of 0 counts as positive; an x_i of 0 agrees with neither sign.
    """
    moved = np.empty_like(base)
    elect(deltas, np.array(weight, np.float32), normalize, moved)
    shift(base, np.float32(lambda_), moved)
    return moved


# Loops over models take 4,096 weights at a time, so that their sums stay in a core's nearest cache.


@compiled
def add_up(tensors, scales, divisor, total):
    for begin in range(0, total.size, 4096):
        tile = total[begin : begin + 4096]
        tile[:] = 0
        for which in range(tensors.shape[0]):
            tensor, scale = tensors[which, begin : begin + 4096], scales[which]
            for i in range(tile.size):
                tile[i] += scale * tensor[i]
        if divisor != 1:
            for i in range(tile.size):
                tile[i] /= divisor


@compiled
def shift(base, scale, delta):
    for i in range(base.size):
        delta[i] = base[i] + scale * delta[i]


@compiled
def elect(deltas, scales, normalize, merged):
    total, weights = np.empty(4096, np.float32), np.empty(4096, np.float32)
    for begin in range(0, merged.size, 4096):
        tile = merged[begin : begin + 4096]
        tile[:] = 0
        total[:] = 0
        weights[:] = 0
        for which in range(deltas.shape[0]):
            delta, scale = deltas[which, begin : begin + 4096], scales[which]
            for i in range(tile.size):
                total[i] += scale * delta[i]
        for which in range(deltas.shape[0]):
            delta, scale = deltas[which, begin : begin + 4096], scales[which]
            for i in range(tile.size):
                value = scale * delta[i]
                agrees = (value > 0) == (total[i] >= 0) and value != 0
                tile[i] += value if agrees else np.float32(0)
                weights[i] += scale if agrees else np.float32(0)
        if normalize:
            for i in range(tile.size):
                tile[i] /= weights[i] if weights[i] != 0 else np.float32(1)


LANES = 16
"""A sum over weights is made of this many sums in fp64, of every 16th weight: an order that vector units of any width can keep."""


def sum_abs(x: Array) -> float:
    lanes = np.zeros(LANES)
    add_abs(x, lanes)
    return float(lanes.sum())


def dot(x: Array, y: Array) -> float:
    lanes = np.zeros(LANES)
    add_products(x, y, lanes)
    return float(lanes.sum())


@compiled
def add_abs(x, lanes):
    whole = x.size - x.size % 16
    for i in range(0, whole, 16):
        for lane in range(16):
            lanes[lane] += np.float64(abs(x[i + lane]))
    for i in range(whole, x.size):
        lanes[i - whole] += np.float64(abs(x[i]))


@compiled
def add_products(x, y, lanes):
    whole = x.size - x.size % 16
    for i in range(0, whole, 16):
        for lane in range(16):
            lanes[lane] += np.float64(x[i + lane]) * np.float64(y[i + lane])
    for i in range(whole, x.size):
        lanes[i - whole] += np.float64(x[i]) * np.float64(y[i])
