"""Random numbers that depend on what they are for, and not on when, where or in which order they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np

from merging.lazy import kernels

LANES = 256
"""Counters that a core's vector units work on side by side; four random words each."""


def uniform(seed: int, tensor: str, model: int, start: int, size: int, below: float | None = None) -> np.ndarray:
    """fp32 random numbers in [0, 1), one for each of a tensor's weights `start` to `start + size` (flattened).

    With `below`: bool, whether they are below it.

    They are the upper 24 bits of Philox4x32-10 words (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011). The key is the
    beginning of the SHA-256 of (seed, model's place in the recipe, tensor's name); of each 1,024 weights, the first 256 have the first words
    of 256 counters, the next the second, and so on. So any part of a tensor can be drawn alone, on any machine.
    """
    key = np.frombuffer(hashlib.sha256(f"{seed}\0{model}\0{tensor}".encode()).digest()[:8], "<u4")
    first, last = start // (4 * LANES), -(-(start + size) // (4 * LANES))
    numbers = np.empty((last - first, 4, LANES), np.float32 if below is None else bool)
    kernels.philox(key[0], key[1], first, None if below is None else np.float32(below), numbers)
    skip = start - first * 4 * LANES
    return numbers.reshape(-1)[skip : skip + size]
