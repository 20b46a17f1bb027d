"""Tensors that no file holds as they are: they are computed as fp32, window by window, while a
merge reads them.

Shapes: `N` weights of the tensor, `L` of a window, `O` rows and `I` columns of a matrix, `r` the
rank of an adapter, `E` experts, `G` groups of 32 weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from langmerge.merging.checkpoint import DTYPES, Tensor
from langmerge.merging.lazy import kernels
from langmerge.merging.opened import Files
from langmerge.merging.tensors import Array

FP32 = DTYPES["F32"]
MXFP4_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""The values of a 4-bit float, E2M1, by its bits."""
MXFP4_GROUP = 32
"""Weights that share a scale."""


class Computed:
    """A tensor that is computed while it is read.

    Attributes:
        shape: as of a stored tensor.
        files: that it is computed from.
        stored_dtype: the type that a merge writes by default.
    """

    dtype = FP32
    shape: tuple[int, ...]
    files: tuple[Path, ...]
    stored_dtype: np.dtype

    @property
    def size(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def file(self) -> Path:
        """The file that messages name."""
        return self.files[-1]

    def fill(self, files: Files, start: int, out: Array) -> None:
        """Fill `out`, fp32 (L,), with the weights from `start` on."""
        raise NotImplementedError

    def part(self, start: int, shape: tuple[int, ...]) -> Computed:
        """A tensor of the weights from `start` on."""
        return Part(self, start, shape)


Source = Tensor | Computed
"""What a merge reads a tensor from."""


def read_fp32(files: Files, source: Source, start: int, out: Array) -> None:
    """Fill `out`, fp32 (L,), with the weights of any source from `start` on."""
    if isinstance(source, Computed):
        source.fill(files, start, out)
        return
    stored = np.empty(out.size, source.dtype)
    files.read([source], [start], stored.view(np.uint8)[None])
    with np.errstate(over="ignore"):  # fp64 too large for fp32 becomes infinite, which is an error later
        out[:] = stored


def rows_of(files: Files, matrix: Tensor, first: int, last: int) -> Array:
    """Rows `first` to `last` of a matrix, of its own type."""
    width = prod(matrix.shape[1:])
    stored = np.empty((last - first, *matrix.shape[1:]), matrix.dtype)
    files.read([matrix], [first * width], stored.reshape(-1).view(np.uint8)[None])
    return stored


@dataclass(frozen=True)
class Part(Computed):
    """Consecutive weights of another computed tensor."""

    whole: Computed
    start: int
    shape: tuple[int, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return self.whole.files

    @property
    def stored_dtype(self) -> np.dtype:
        return self.whole.stored_dtype

    def fill(self, files: Files, start: int, out: Array) -> None:
        self.whole.fill(files, self.start + start, out)


@dataclass(frozen=True)
class Adapted(Computed):
    """W + scale B A: a matrix (O, I) and the LoRA adapter that was trained on it.

    Attributes:
        a, b: (r, I) and (O, r); with `transposed`, (r, O) and (I, r), and what is added to W is
            scale (B A)^T: embeddings, and layers whose weights are stored as (inputs, outputs).
    """

    weight: Source
    a: Tensor
    b: Tensor
    scale: float
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight.shape

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.weight.files, self.a.file)

    @property
    def stored_dtype(self) -> np.dtype:
        return self.weight.stored_dtype

    def fill(self, files: Files, start: int, out: Array) -> None:
        read_fp32(files, self.weight, start, out)
        width = self.shape[1]
        first, last = start // width, -(-(start + out.size) // width)
        if self.transposed:
            rank, rows = self.a.shape
            left = np.empty((rank, last - first), self.a.dtype)
            windows = [row * rows + first for row in range(rank)]
            files.read([self.a], windows, left.reshape(-1).view(np.uint8)[None])
            left, right = left.T, rows_of(files, self.b, 0, width).T
        else:
            left, right = rows_of(files, self.b, first, last), rows_of(files, self.a, 0, self.a.shape[0])
        left, right = (np.ascontiguousarray(factor, np.float32) for factor in (left, right))
        kernels.add_product(left, right, self.scale, start - first * width, out)


@dataclass(frozen=True)
class BlockScaled(Computed):
    """8-bit floats (O, I), each block of them times a scale of its own."""

    weight: Tensor
    scales: Tensor
    block: tuple[int, int]
    stored_dtype: np.dtype = DTYPES["BF16"]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight.shape

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.scales.file, self.weight.file)

    def fill(self, files: Files, start: int, out: Array) -> None:
        read_fp32(files, self.weight, start, out)
        width = self.shape[1]
        first, last = start // width, -(-(start + out.size) // width)
        height, length = self.block
        scales = rows_of(files, self.scales, first // height, -(-last // height)).astype(np.float32)
        columns = np.arange(width) // length
        for row in range(first, last):
            begin, end = max(row * width, start), min((row + 1) * width, start + out.size)
            factors = scales[row // height - first // height][columns[begin - row * width : end - row * width]]
            out[begin - start : end - start] *= factors


@dataclass(frozen=True)
class Mxfp4(Computed):
    """4-bit floats in groups of 32 that share an exponent, as gpt-oss stores its experts.

    Attributes:
        blocks: (E, O, G, 16) bytes of two weights each, the lower half first.
        scales: (E, O, G) exponents plus 127.

    The dense tensor is (E, 32 G, O), the transpose of each expert, as in transformers.
    """

    blocks: Tensor
    scales: Tensor
    stored_dtype: np.dtype = DTYPES["BF16"]

    @property
    def shape(self) -> tuple[int, ...]:
        experts, outputs, groups, _ = self.blocks.shape
        return experts, groups * MXFP4_GROUP, outputs

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.scales.file, self.blocks.file)

    def fill(self, files: Files, start: int, out: Array) -> None:
        _, inputs, outputs = self.shape
        done = 0
        while done < out.size:
            expert, offset = divmod(start + done, inputs * outputs)
            size = min(out.size - done, inputs * outputs - offset)
            first, last = offset // outputs, -(-(offset + size) // outputs)
            dense = self.rows(files, expert, first, last).reshape(-1)
            skip = offset - first * outputs
            out[done : done + size] = dense[skip : skip + size]
            done += size

    def rows(self, files: Files, expert: int, first: int, last: int) -> Array:
        """Rows of an expert's dense matrix, (last - first, O)."""
        _, outputs, groups, half = self.blocks.shape
        low, high = first // MXFP4_GROUP, -(-last // MXFP4_GROUP)
        places = [(expert * outputs + row) * groups + low for row in range(outputs)]
        codes = np.empty((outputs, high - low, half), np.uint8)
        files.read([self.blocks], [place * half for place in places], codes.reshape(1, -1))
        exponents = np.empty((outputs, high - low), np.uint8)
        files.read([self.scales], places, exponents.reshape(1, -1))
        values = np.stack([MXFP4_VALUES[codes & 15], MXFP4_VALUES[codes >> 4]], axis=-1).reshape(
            outputs, high - low, -1
        )
        values = np.ldexp(values, exponents[..., None].astype(np.int32) - 127)
        dense = values.reshape(outputs, -1).T
        return dense[first - low * MXFP4_GROUP : last - low * MXFP4_GROUP]
