"""Memory that is used for chunk after chunk: fresh pages cost more than merging the weights."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from threading import local

import numpy as np

from langmerge.merging.tensors import Array

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class Buffers(local):
    """Named buffers, each thread's own."""

    def __init__(self) -> None:
        self.memory: dict[str, mmap.mmap] = {}

    def get(self, name: str, size: int, dtype: np.dtype | type) -> Array:
        """A buffer of `size` weights, which begins on a page; its earlier content is lost."""
        needed = max(size * np.dtype(dtype).itemsize, 1)
        if len(self.memory.get(name, b"")) < needed:
            self.memory[name] = mmap.mmap(-1, needed)
        return np.frombuffer(self.memory[name], dtype, count=size)


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next chunk, where it has such a setting."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(option, 2**30)
