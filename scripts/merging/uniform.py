"""Random numbers that depend on what they are for, and not on when, where or in which order they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np

from merging.compiled import compiled

LANES = 256
"""Counters that a core's vector units work on side by side; four random words each."""


def uniform(seed: int, tensor: str, model: int, start: int, size: int) -> np.ndarray:
    """fp32 random numbers in [0, 1), one for each of a tensor's weights `start` to `start + size` (flattened).

    They are the upper 24 bits of Philox4x32-10 words (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011). The key is the
    beginning of the SHA-256 of (seed, model's place in the recipe, tensor's name); of each 1,024 weights, the first 256 have the first words
    of 256 counters, the next the second, and so on. So any part of a tensor can be drawn alone, on any machine.
    """
    key = np.frombuffer(hashlib.sha256(f"{seed}\0{model}\0{tensor}".encode()).digest()[:8], "<u4")
    first, last = start // (4 * LANES), -(-(start + size) // (4 * LANES))
    numbers = np.empty((last - first, 4, LANES), np.float32)
    philox(key[0], key[1], first, numbers)
    skip = start - first * 4 * LANES
    return numbers.reshape(-1)[skip : skip + size]


@compiled
def philox(key0, key1, first, numbers):
    """Fill (n, 4, LANES) with the numbers of the counters from `first` * LANES on."""
    low = np.uint64(0xFFFFFFFF)
    for group in range(numbers.shape[0]):
        counter = np.uint64(first + group) * np.uint64(numbers.shape[2])
        for lane in range(numbers.shape[2]):
            place = counter + np.uint64(lane)
            a, b, c, d = place & low, place >> np.uint64(32), np.uint64(0), np.uint64(0)
            k, l = np.uint64(key0), np.uint64(key1)  # noqa: E741 the paper's letter
            for _ in range(10):
                p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
                a, b, c, d = (q >> np.uint64(32)) ^ b ^ k, q & low, (p >> np.uint64(32)) ^ d ^ l, p & low
                k, l = (k + np.uint64(0x9E3779B9)) & low, (l + np.uint64(0xBB67AE85)) & low  # noqa: E741
            numbers[group, 0, lane] = np.float32(np.uint32(a) >> np.uint32(8)) * np.float32(2.0**-24)
            numbers[group, 1, lane] = np.float32(np.uint32(b) >> np.uint32(8)) * np.float32(2.0**-24)
            numbers[group, 2, lane] = np.float32(np.uint32(c) >> np.uint32(8)) * np.float32(2.0**-24)
            numbers[group, 3, lane] = np.float32(np.uint32(d) >> np.uint32(8)) * np.float32(2.0**-24)
