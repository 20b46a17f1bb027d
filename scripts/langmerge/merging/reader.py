"""Reading chunks of tensors from their files, into buffers.

Shapes: `C` weights of a chunk, `S` sources (the base first, if there is one), `M` models without
the base, `W` windows of `L` weights in a sample.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.buffers import Buffers
from langmerge.merging.checkpoint import Tensor
from langmerge.merging.expressions import BF16
from langmerge.merging.jobs import Job
from langmerge.merging.lazy import kernels
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

    def read(self, tensors: Sequence[Tensor], starts: Sequence[int], bits: Array) -> None:
        """Fill a row of `bits` (tensors, W L), of their `common_type`, with the windows of each
        tensor."""
        types = {tensor.dtype for tensor in tensors}
        if types in ({BF16}, {np.dtype(np.float32)}):
            self.files.read(tensors, starts, bits)
            return
        for tensor, row in zip(tensors, bits, strict=True):
            stored = self.buffers.get("stored", row.size, tensor.dtype)
            self.files.read([tensor], starts, stored.view(np.uint8)[None])
            with np.errstate(over="ignore"):  # fp64 too large for fp32 becomes infinite, which is an error later
                row.view(np.float32)[:] = stored

    def close(self) -> None:
        self.files.close()


def common_type(tensors: Sequence[Tensor]) -> np.dtype:
    """The type as whose bits these tensors are read: uint16 if all are bf16, else uint32."""
    return np.dtype(np.uint16 if all(tensor.dtype == BF16 for tensor in tensors) else np.uint32)


class Files:
    """Files that are read by many threads; each is opened once."""

    def __init__(self) -> None:
        self.opened = ExitStack()
        self.descriptors: dict[Path, int] = {}

    def read(self, tensors: Sequence[Tensor], starts: Sequence[int], out: Array) -> None:
        """Fill a row of `out` with each tensor's windows, equally long and one after the other.

        Args:
            starts: (W,) index of each window's first weight.
            out: (tensors, W L) of any type.

        Raises:
            UserError: a file has become shorter since its header was read.
        """
        rows = out.view(np.uint8)
        length = rows.shape[1] // len(starts)
        files = np.array([self.descriptor(tensor.file) for tensor in tensors], np.intc)
        offsets = np.array(
            [[tensor.offset + start * tensor.dtype.itemsize for start in starts] for tensor in tensors], np.int64
        )
        if kernels.read(files, offsets, length, rows):
            return
        for tensor, row, row_offsets in zip(tensors, rows, offsets.tolist(), strict=True):
            for window, offset in enumerate(row_offsets):
                self.read_slowly(tensor.file, offset, memoryview(row[window * length :][:length]))

    def read_slowly(self, path: Path, offset: int, view: memoryview) -> None:
        """Read bytes that one call could not read, or say why they cannot be read."""
        while view:
            try:
                count = os.preadv(self.descriptor(path), [view], offset)
            except OSError as error:
                error.filename = str(path)
                raise
            if not count:
                raise UserError(
                    f"{path} became shorter while it was read. Is something writing to it? Download or copy it again."
                )
            view, offset = view[count:], offset + count

    def descriptor(self, path: Path) -> int:
        if path not in self.descriptors:
            # Two threads may open a file at once: one of the two is not used, but both are closed.
            self.descriptors[path] = self.opened.enter_context(path.open("rb", buffering=0)).fileno()
        return self.descriptors[path]

    def close(self) -> None:
        self.opened.close()
