"""Random numbers that depend on what they are for, and not on when, where or in which order they are drawn."""

from __future__ import annotations

import hashlib
from math import prod

import numpy as np


def uniform(seed: int, model: int, tensor: str, shape: tuple[int, ...]) -> np.ndarray:
    """fp32 random numbers in [0, 1), one for each weight of a tensor.

    Weight i takes the 32-bit word i of the Philox4x64-10 stream whose key is the first half of the SHA-256 of
    (seed, model's place in the recipe, tensor's name): any part of a tensor can be drawn alone, on any machine.
    """
    key = hashlib.sha256(f"{seed}\0{model}\0{tensor}".encode()).digest()[:16]
    words = np.random.Philox(key=int.from_bytes(key, "little")).random_raw((prod(shape) + 1) // 2).view(np.uint32)[: prod(shape)]
    return ((words >> 8).astype(np.float32) * np.float32(2**-24)).reshape(shape)
