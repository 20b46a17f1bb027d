"""A tensor of the model, and the chunks in which it is read and merged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

Array = np.ndarray

LAYER = re.compile(r"^(?P<tower>(?:.*\.)?(?:layers|h|blocks)\.)(?P<layer>\d+)\.")
"""The number of the layer in a tensor's name, and the tower that it is in."""


BEFORE = ("embed", ".wte.", ".wpe.")
"""What is in the names of tensors before the first layer."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's name and shape, and its position in the model.

    Attributes:
        layer: number of its layer, None outside the layers (embeddings, final norm, head).
        layers: number of layers in its tower; outside the layers, in the tower with the most
            tensors, the language model's.
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
        return self.layer is None and any(part in self.name for part in BEFORE)


@dataclass(frozen=True)
class Chunk:
    """Consecutive weights of a flattened tensor: the `index`-th chunk, weights `start` to `start +
    size`.

    A thread has one chunk of every source in memory at a time.
    """

    index: int
    start: int
    size: int


def tensor_infos(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    """Each tensor with its position in the model."""
    found = {name: (match["tower"], int(match["layer"])) for name in shapes if (match := LAYER.search(name))}
    counts: dict[str, int] = {}
    for tower, layer in found.values():
        counts[tower] = max(counts.get(tower, 0), layer + 1)
    tensors = Counter(tower for tower, _ in found.values())
    most = max(tensors, key=tensors.__getitem__, default="")
    infos = {}
    for name, shape in shapes.items():
        tower, layer = found.get(name, (most, None))
        infos[name] = TensorInfo(name, shape, layer, counts.get(tower, 0))
    return infos
