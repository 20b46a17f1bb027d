"""Dividing a tensor into chunks, and chunks into batches.

Their bounds depend on the tensor and the method alone, so that sums over chunks do, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm

from langmerge.merging.passes.base import Preparation
from langmerge.merging.shards import PAGE
from langmerge.merging.tensors import Chunk, TensorInfo

CHUNK = 2**19
"""Weights of a chunk: the caches of a core hold one of all sources. Half as many where a method
needs whole rows, because its random numbers and probabilities must fit in the caches, too."""
BATCH = 2**22
"""Weights that a thread scans, or merges and writes, before it hands over its core."""


def chunks_of(tensor: TensorInfo, preparation: Preparation | None, chunk_size: int) -> list[Chunk]:
    """The chunks of a tensor, of `chunk_size` weights unless the method needs larger units."""
    size = tensor.size
    unit = preparation.unit if preparation else "weight"
    step = size if unit == "tensor" else chunk_size
    if unit == "row":
        row = tensor.shape[-1] if tensor.shape else 1
        # Whole rows; and whole pages, too, where a few rows make one.
        half = chunk_size // 2
        aligned = lcm(row, PAGE) if lcm(row, PAGE) <= half else row
        step = max(half // aligned, 1) * aligned
    return [Chunk(index, start, min(step, size - start)) for index, start in enumerate(range(0, size, max(step, 1)))]


def batches_of(chunks: list[Chunk], batch_size: int) -> Iterator[list[Chunk]]:
    """Consecutive chunks, of `batch_size` weights together."""
    count = max(batch_size // chunks[0].size, 1) if chunks else 1
    return (chunks[first : first + count] for first in range(0, len(chunks), count))
