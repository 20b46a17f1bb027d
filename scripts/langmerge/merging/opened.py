"""Files of weights that many threads read; each is opened once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.checkpoint import Tensor
from langmerge.merging.lazy import kernels
from langmerge.merging.tensors import Array


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


def read_raw(tensor: Tensor) -> Array:
    """A whole tensor as it is stored, for small ones."""
    stored = np.empty(tensor.size, tensor.dtype)
    with closing(Files()) as files:
        files.read([tensor], [0], stored.view(np.uint8)[None])
    return stored
