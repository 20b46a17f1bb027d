"""Random numbers that depend on what they are for, and not on when, where or in which order they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np

from langmerge.merging.lazy import kernels

LANES = 256
"""Counters that a core's vector units work on side by side; four random words, or eight halves of one, each."""


def uniform(seed: int, tensor: str, model: int, start: int, size: int, below: float | None = None) -> np.ndarray:
    """uint16 random numbers, one for each of a tensor's weights `start` to `start + size` (flattened).

    With `below`: bool, whether numbers in [0, 1) are below it, of 24 bits: a small density needs them.

    They are halves, or the upper bits, of Philox4x32-10 words (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011). The key
    is the beginning of the SHA-256 of (seed, model's place in the recipe, tensor's name); the first 256 weights have what is drawn first
    from each of 256 counters, the next what is drawn second, and so on. So any part of a tensor can be drawn alone, on any machine.
    """
    key = np.frombuffer(hashlib.sha256(f"{seed}\0{model}\0{tensor}".encode()).digest()[:8], "<u4")
    each, dtype = (8, np.uint16) if below is None else (4, bool)
    first, last = start // (each * LANES), -(-(start + size) // (each * LANES))
    drawn = np.empty((last - first, each, LANES), dtype)
    kernels.philox(key[0], key[1], first, None if below is None else np.float32(below), drawn)
    skip = start - first * each * LANES
    return drawn.reshape(-1)[skip : skip + size]
