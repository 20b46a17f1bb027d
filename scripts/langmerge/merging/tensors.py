"""A tensor of the model, and the chunks in which it is read and merged."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's name and shape, and its position in the model.

    Attributes:
        layer: number of its layer, None outside the layers (embeddings, final norm, head).
        layers: number of layers in the model.
    """

    name: str
    shape: tuple[int, ...]
    layer: int | None = None
    layers: int = 0

    @property
    def size(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def is_embedding(self) -> bool:
        """Whether it comes before the first layer."""
        return self.layer is None and "embed" in self.name


@dataclass(frozen=True)
class Chunk:
    """Consecutive weights of a flattened tensor: the `index`-th chunk, weights `start` to `start +
    size`.

    A thread has one chunk of every source in memory at a time.
    """

    index: int
    start: int
    size: int
