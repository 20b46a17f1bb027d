"""Work in batches, halved where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from tqdm import tqdm

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


def in_batches(
    items: Sequence[T], size: int, key: Callable[[T], Any], work: Callable[[list[T]], list[R]], unit: str
) -> list[R]:
    """The results of `work`, which takes a batch, in the order of `items`.

    Where memory runs out, the batch is halved, down to one item, for this call; what is done is
    kept.

    Args:
        key: what batches are ordered by, so that they are the same whatever the order of `items`.
            Begin it with the negative length: then memory runs out early or not at all, and the
            sequences of a batch are of about the same length.
        unit: how the progress bar calls an item.
    """
    order = sorted(range(len(items)), key=lambda number: key(items[number]))
    results: dict[int, R] = {}
    with tqdm(total=len(items), unit=unit, disable=None, leave=False) as bar:
        while len(results) < len(items):
            chosen = order[len(results) : len(results) + size]
            try:
                results.update(zip(chosen, work([items[number] for number in chosen]), strict=True))
                bar.update(len(chosen))
                continue
            except (RuntimeError, MemoryError) as error:
                if len(chosen) == 1 or not out_of_memory(error):
                    raise
            size = len(chosen) // 2
            logger.warning("out of memory with batches of %d; continuing with %d", len(chosen), size)
            # Not in the handler: there the exception still refers to the frames that hold the
            # batch.
            clear_device_cache(garbage_collection=True)
    return [results[number] for number in range(len(items))]


def out_of_memory(error: Exception) -> bool:
    """Whether an exception means that memory has run out, of the GPU or of the machine."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(error)
