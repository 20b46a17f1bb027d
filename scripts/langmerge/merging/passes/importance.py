"""Which weights of a model are important, by how much they changed and by how much their row did.

Shapes: `C` weights of a chunk, whole rows; `R` rows of `K` weights.
"""

from __future__ import annotations

import numpy as np

from langmerge.merging.expressions import fp32
from langmerge.merging.passes.base import Draw, Pass, Preparation
from langmerge.merging.tensors import Array, Chunk, TensorInfo

SAMPLE = 1_000_000
"""Weights of a tensor that quartiles are taken from; of a larger one, evenly spread."""


class Importance(Preparation):
    """Whether the importance of a weight is at least median + 1.5 (upper - lower quartile).

    Attributes:
        threshold: filled in by the pass.
    """

    unit = "row"
    passes = "one"

    def __init__(self, tensor: TensorInfo, draw: Draw) -> None:
        super().__init__(tensor, draw)
        self.row = tensor.shape[-1] if tensor.shape else 1
        self.step = -(-tensor.size // SAMPLE)
        self.threshold = np.float32(0)

    def first_pass(self) -> Pass:
        return Quartiles(self)

    def for_chunk(self, chunk: Chunk, base: Array, models: Array) -> Array:
        return importance(base, models[0], self.row) >= self.threshold


class Quartiles(Pass):
    """Gathers a sample of importances."""

    def __init__(self, preparation: Importance) -> None:
        self.preparation = preparation

    def scan(self, chunk: Chunk, base: Array, models: Array) -> Array:
        first = -chunk.start % self.preparation.step
        return importance(base, models[0], self.preparation.row)[first :: self.preparation.step]

    def finish(self, scans: list[Array]) -> None:
        found = np.sort(np.concatenate(scans))
        places = (np.float32([0.25, 0.5, 0.75]) * np.float32(found.size - 1)).astype(int)
        lower, median, upper = found[places]
        self.preparation.threshold = median + np.float32(1.5) * (upper - lower)


def importance(base: Array, other: Array, row: int) -> Array:
    """|tau| times the divergence of the row's softmax from the base's, (C,) fp32.

    In fp64 on the way: of a fine-tuned model's row, the divergence is about as small as the
    rounding of fp32.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # an error later
        ours, theirs = (fp32(bits).reshape(-1, row).astype(np.float64) for bits in (other, base))
        p, q = softmax(ours) + 1e-8, softmax(theirs) + 1e-8
        divergence = (p * np.log(p / q)).sum(axis=1, keepdims=True)
        return (np.abs(ours - theirs) * divergence).ravel().astype(np.float32)


def softmax(rows: Array) -> Array:
    """The softmax of each row, (R, K)."""
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
