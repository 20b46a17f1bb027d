"""Tensors in safetensors files: reading the headers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from langmerge.errors import UserError
from langmerge.weights import check_not_pointer

DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F64": np.dtype(np.float64),
}
"""The types that can be merged, by their names in safetensors files."""

STORED = DTYPES | {
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "BOOL": np.dtype(bool),
    **{f"{kind}{bits}": np.dtype(f"{kind.lower()}{bits // 8}") for kind in "IU" for bits in (8, 16, 32, 64)},
}
"""All types that tensors may have: quantised weights, which are read with their scales, and integer
buffers, which are copied."""

MAX_HEADER = 100_000_000
"""Bytes; the safetensors library has the same limit."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, `offset` bytes from its beginning."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def files(self) -> tuple[Path, ...]:
        """Where its weights are."""
        return (self.file,)

    @property
    def stored_dtype(self) -> np.dtype:
        """The type that a merge writes by default."""
        return self.dtype

    def part(self, start: int, shape: tuple[int, ...]) -> Tensor:
        """A tensor of the weights from `start` on."""
        return Tensor(self.file, self.dtype, shape, self.offset + start * self.dtype.itemsize)


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Such a file has 8 bytes with the header's length, a JSON header, and the bytes of the tensors
    without gaps or overlaps. Headers come from strangers, so nothing in them is believed before it
    is checked against the file.

    Raises:
        UserError: it is no such file, its length is not what the header says, or a tensor has a
            type that cannot be merged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER or size < 8:
            raise not_safetensors(path)
        if size < 8 + length:
            raise truncated(path, 8 + length, size, "at least ")
        text = file.read(length)
    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=partial(without_duplicates, path))
    except (ValueError, RecursionError):
        raise not_safetensors(path) from None
    if not isinstance(entries, dict):
        raise not_safetensors(path)
    entries.pop("__metadata__", None)
    spans = {name: read_span(path, entry) for name, entry in entries.items()}
    expected = 8 + length + max((end for *_, end in spans.values()), default=0)
    if size != expected:
        raise truncated(path, expected, size)
    tensors = {name: read_entry(path, name, 8 + length, *span) for name, span in spans.items()}
    previous_end = 0
    for name, (_, _, begin, end) in sorted(spans.items(), key=lambda item: item[1][2:]):
        if begin != previous_end:
            fault = "overlaps the tensor before it" if begin < previous_end else "leaves a gap before it"
            raise UserError(
                f"{path}: {name} begins at byte {begin} and {fault}, which ends at {previous_end}. "
                "Download the file again."
            )
        previous_end = end
    return tensors


def without_duplicates(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Of two tensors with one name, different readers would take different ones."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}: its header has {twice!r} twice. Download the file again.")
    return entries


def read_span(path: Path, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """A tensor's type, shape, begin and end in the header, each checked for its own type."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise not_safetensors(path)
    shape, offsets = entry["shape"], entry["data_offsets"]
    if (
        not isinstance(entry["dtype"], str)
        or not isinstance(shape, list)
        or not isinstance(offsets, list)
        or len(offsets) != 2
    ):
        raise not_safetensors(path)
    # Not isinstance: true and false are integers in Python.
    if any(type(number) is not int or number < 0 for number in (*shape, *offsets)) or offsets[0] > offsets[1]:
        raise not_safetensors(path)
    return entry["dtype"], tuple(shape), offsets[0], offsets[1]


def read_entry(path: Path, name: str, data: int, dtype: str, shape: tuple[int, ...], begin: int, end: int) -> Tensor:
    """A tensor of a file whose tensors' bytes begin at `data`."""
    if dtype not in STORED:
        raise UserError(
            f"{path}: {name} is of type {dtype}. Only floating-point weights can be merged: {', '.join(DTYPES)}."
        )
    if end - begin != prod(shape) * STORED[dtype].itemsize:
        raise UserError(
            f"{path}: {name} is {dtype} {list(shape)}, but the header gives it {end - begin} bytes. "
            "Download the file again."
        )
    return Tensor(path, STORED[dtype], shape, data + begin)


def truncated(path: Path, expected: int, size: int, at_least: str = "") -> UserError:
    return UserError(
        f"{path}: the header says {at_least}{expected} bytes, the file has {size}. Download or copy it again."
    )


def not_safetensors(path: Path) -> UserError:
    with path.open("rb") as file:
        start = file.read(64)
    check_not_pointer(path, start)
    return UserError(f"{path} is not a safetensors file (it starts with {start[:16]!r}). Download it again.")
