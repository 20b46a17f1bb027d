"""What a method needs to know of a tensor's position in the model; no pass over its weights."""

from __future__ import annotations

from itertools import pairwise

from langmerge.errors import UserError
from langmerge.merging.passes.base import Draw, Preparation
from langmerge.merging.registry import Count
from langmerge.merging.tensors import Array, Chunk, TensorInfo


class LayerMatrix(Preparation):
    """The shape of a matrix in a layer, which is one chunk; None for all other tensors."""

    passes = "none; a matrix is in memory as a whole"

    @property
    def unit(self) -> str:
        return "weight" if self.tensor.layer is None or len(self.tensor.shape) != 2 else "tensor"

    def for_chunk(self, chunk: Chunk, base: Array, models: Array) -> tuple[int, ...] | None:
        return self.tensor.shape if self.unit == "tensor" else None


class LayerSwap(Preparation):
    """The other model's share: 1 in the outer layers, 0 in the inner ones, 0.5 in between.

    Tensors outside the layers go with the layers beside them: embeddings with the bottom ones, the
    final norm and the head with the top ones.
    """

    def __init__(
        self, tensor: TensorInfo, draw: Draw, *, bottom: Count = 5, top: Count = 2, transition: Count = 1
    ) -> None:
        super().__init__(tensor, draw)
        self.swapped = bottom, top
        # An end at which nothing is swapped has no transition.
        self.bounds = [
            bottom,
            bottom + transition * (bottom > 0),
            tensor.layers - top - transition * (top > 0),
            tensor.layers - top,
        ]
        if any(low > high for low, high in pairwise(self.bounds)):
            raise UserError(
                f"layer_swap with bottom {bottom}, top {top} and transition {transition} (at each inner border) needs "
                f"{bottom + top + transition * ((bottom > 0) + (top > 0))} layers or more; the model has "
                f"{tensor.layers}. Lower them under `parameters`."
            )

    def for_chunk(self, chunk: Chunk, base: Array, models: Array) -> float:
        layer = self.tensor.layer
        if layer is None:
            bottom, top = self.swapped
            return float((bottom if self.tensor.is_embedding else top) > 0)
        first, inner, outer, last = self.bounds
        return 0.0 if inner <= layer < outer else 0.5 if first <= layer < last else 1.0
