"""Random numbers that do not depend on when, where or in which order they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np

from langmerge.merging.lazy import kernels
from langmerge.merging.tensors import Array

LANES = 256
"""Counters that the vector units of a core work on side by side; each gives four random words, or
eight halves."""


def uniform(seed: int, tensor: str, model: int, start: int, size: int, below: float | None = None) -> Array:
    """One random number for each of a flattened tensor's weights `start` to `start + size`,
    (size,).

    They are halves, or the upper bits, of Philox4x32-10 words (Salmon et al., Parallel random
    numbers: as easy as 1, 2, 3, SC 2011). The key is the beginning of the SHA-256 of (seed, model's
    position in the recipe, tensor's name); the first 256 weights get what is drawn first from each
    of 256 counters, the next 256 what is drawn second, and so on. So any part of a tensor can be
    drawn alone, on any machine.

    Returns:
        uint16; or, with `below`, bool: whether numbers in [0, 1) are below it. Those have 24 bits,
        which a small density needs.
    """
    key = np.frombuffer(hashlib.sha256(f"{seed}\0{model}\0{tensor}".encode()).digest()[:8], "<u4")
    per_counter, dtype = (8, np.uint16) if below is None else (4, bool)
    group = per_counter * LANES
    first, last = start // group, -(-(start + size) // group)
    drawn = np.empty((last - first, per_counter, LANES), dtype)
    kernels.philox(key[0], key[1], first, None if below is None else np.float32(below), drawn)
    skip = start - first * group
    return drawn.reshape(-1)[skip : skip + size]
