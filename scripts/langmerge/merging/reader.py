"""Reading chunks of tensors from their files, into buffers.

Shapes: `C` weights of a chunk, `S` sources (the base first, if there is one), `M` models without
the base, `W` windows of `L` weights in a sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from langmerge.merging.buffers import Buffers
from langmerge.merging.computed import Computed, Source
from langmerge.merging.expressions import BF16
from langmerge.merging.jobs import Job
from langmerge.merging.opened import Files
from langmerge.merging.tensors import Array, Chunk


class Reader:
    """Reads the sources of jobs as bits: bf16's if all sources are bf16, else fp32's."""

    def __init__(self, buffers: Buffers) -> None:
        self.buffers = buffers
        self.files = Files()

    def chunk(self, job: Job, chunk: Chunk) -> tuple[Array | None, Array]:
        """The bits of a chunk: the base's (C,), None if there is no base, and the models' (M, C).

        They are in one buffer, and hold until this thread's next call.
        """
        return self.windows(job, [chunk.start], chunk.size)

    def windows(self, job: Job, starts: Sequence[int], length: int) -> tuple[Array | None, Array]:
        """As `chunk`, the weights of windows of one length (L), one after the other: (W L,) and (M,
        W L)."""
        sources = len(job.sources)
        bits = self.buffers.get("bits", sources * len(starts) * length, common_type(job.sources)).reshape(sources, -1)
        self.read(job.sources, starts, bits)
        return (bits[0], bits[1:]) if job.has_base else (None, bits)

    def read(self, tensors: Sequence[Source], starts: Sequence[int], bits: Array) -> None:
        """Fill a row of `bits` (tensors, W L), of their `common_type`, with the windows of each
        tensor."""
        types = {tensor.dtype for tensor in tensors}
        computed = any(isinstance(tensor, Computed) for tensor in tensors)
        if types in ({BF16}, {np.dtype(np.float32)}) and not computed:
            self.files.read(tensors, starts, bits)
            return
        for tensor, row in zip(tensors, bits, strict=True):
            if isinstance(tensor, Computed):
                for start, window in zip(starts, np.split(row.view(np.float32), len(starts)), strict=True):
                    tensor.fill(self.files, start, window)
                continue
            stored = self.buffers.get("stored", row.size, tensor.dtype)
            self.files.read([tensor], starts, stored.view(np.uint8)[None])
            with np.errstate(over="ignore"):  # fp64 too large for fp32 becomes infinite, which is an error later
                row.view(np.float32)[:] = stored

    def close(self) -> None:
        self.files.close()


def common_type(tensors: Sequence[Source]) -> np.dtype:
    """The type as whose bits these tensors are read: uint16 if all are bf16, else uint32."""
    return np.dtype(np.uint16 if all(tensor.dtype == BF16 for tensor in tensors) else np.uint32)
