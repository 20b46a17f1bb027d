"""The layout of a checkpoint's safetensors files, and writing them from many threads."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from langmerge.merging.checkpoint import STORED
from langmerge.weights import INDEX, SINGLE

NAMES = {dtype: name for name, dtype in STORED.items()}

PAGE = 4096
"""Bytes; O_DIRECT needs offsets, lengths and addresses to be multiples of it."""

NO_DIRECT = "has no O_DIRECT, so files are written through the page cache"
NO_ALLOCATE = "cannot reserve space, so a full disk is noticed only while writing"


@dataclass(frozen=True)
class OutputTensor:
    """A tensor to be written."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * self.dtype.itemsize


Shard = dict[str, OutputTensor]


def split(tensors: Mapping[str, OutputTensor], max_size: int) -> list[Shard]:
    """Fill shards of at most `max_size` bytes with tensors in the given order; a larger tensor gets
    a shard of its own.

    Within a shard, tensors of whole pages come first, so that as many as possible begin on a page,
    and wider types come before narrower ones, so that each is aligned to its type.
    """
    shards: list[Shard] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.size > max_size:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.size
    return [
        dict(sorted(shard.items(), key=lambda item: (item[1].size % PAGE != 0, -item[1].dtype.itemsize)))
        for shard in shards
    ]


def header(shard: Shard) -> bytes:
    """A safetensors file up to the bytes of its tensors, in whole pages."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in shard.items():
        begin, end = end, end + tensor.size
        entries[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % PAGE)
    return len(text).to_bytes(8, "little") + text


def total_size(shards: list[Shard]) -> int:
    """Bytes of all files."""
    return sum(len(header(shard)) + sum(tensor.size for tensor in shard.values()) for shard in shards)


class Target(Protocol):
    """What merged weights are written to: a file, or memory."""

    def write(self, data: np.ndarray, offset: int) -> None:
        """Write weights at an offset in bytes; called from many threads, in any order."""


class Output:
    """A safetensors file to which many threads can write tensors in any order."""

    def __init__(self, path: Path, shard: Shard, page_cache: bool, notes: set[str]) -> None:
        """Create the file, reserve its space and write its header.

        Args:
            page_cache: write through it, and not past it with O_DIRECT.
            notes: what the file system cannot do is added to it.
        """
        self.path, self.notes = path, notes
        text = header(shard)
        self.offsets: dict[str, int] = {}
        end = len(text)
        for name, tensor in shard.items():
            self.offsets[name] = end
            end += tensor.size
        self.plain = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self.direct = None
        self.page_cache_lock = Lock()
        try:
            if not allocate(self.plain, end, path):
                notes.add(NO_ALLOCATE)
            if not page_cache:
                self.direct = open_direct(path)
                if self.direct is None:
                    notes.add(NO_DIRECT)
            os.pwrite(self.plain, text, 0)
        except BaseException:
            self.close()
            raise

    def write(self, data: np.ndarray, offset: int) -> None:
        """Write weights at an offset in bytes; past the page cache where both are whole pages.

        Fresh memory for the page cache costs more than the merge itself, and a merged checkpoint of
        16 GB would evict its sources from it.
        """
        view = memoryview(data.view(np.uint8))
        while view:
            whole_pages = not (offset % PAGE or len(view) % PAGE or data.ctypes.data % PAGE)
            direct = self.direct if whole_pages else None
            try:
                if direct is None:
                    # Only one thread at a time can write to a file through the page cache; others
                    # would wait and occupy a core.
                    with self.page_cache_lock:
                        written = os.pwrite(self.plain, view, offset)
                else:
                    written = os.pwrite(direct, view, offset)
            except OSError as error:
                if error.errno == errno.EINVAL and direct is not None:
                    self.notes.add(NO_DIRECT)
                    self.direct = None
                    continue
                error.filename = str(self.path)
                raise
            if direct is None:
                begin_flush(self.plain, offset, written)
            view, offset = view[written:], offset + written

    def close(self) -> None:
        """Flush to the disk and close."""
        try:
            os.fsync(self.plain)
        finally:
            os.close(self.plain)
            if self.direct is not None:
                os.close(self.direct)


def allocate(file: int, size: int, path: Path) -> bool:
    """Set the length of a file and reserve its space; return whether the file system could reserve
    it.

    Not os.posix_fallocate: where the file system cannot, the C library writes to every block, which
    takes as long as the merge.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux" and libc.fallocate(file, 0, ctypes.c_int64(0), ctypes.c_int64(size)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        raise OSError(number, os.strerror(number), str(path))
    os.ftruncate(file, size)
    return False


def begin_flush(file: int, offset: int, size: int) -> None:
    """Start writing these bytes to the disk, where the system has a call for it: else all would
    wait for the file's end."""
    if sys.platform == "linux":
        start_now = 2  # SYNC_FILE_RANGE_WRITE
        ctypes.CDLL(None).sync_file_range(file, ctypes.c_int64(offset), ctypes.c_int64(size), start_now)


def open_direct(path: Path) -> int | None:
    """Open a file for writing past the page cache; None where that is not possible."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)
    except (OSError, AttributeError):
        return None


def file_names(shards: list[Shard]) -> list[str]:
    """The names of a checkpoint's files."""
    count = len(shards)
    return (
        [SINGLE] if count == 1 else [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    )


@contextmanager
def outputs(
    folder: Path, shards: list[Shard], page_cache: bool, notes: set[str]
) -> Iterator[dict[str, tuple[Output, int]]]:
    """Open the files of a checkpoint; yield each tensor's file and its offset there."""
    names: dict[str, str] = {}
    offsets: dict[str, tuple[Output, int]] = {}
    opened: list[Output] = []
    try:
        for name, shard in zip(file_names(shards), shards, strict=True):
            names |= dict.fromkeys(shard, name)
            opened.append(Output(folder / name, shard, page_cache, notes))
            offsets |= {tensor: (opened[-1], offset) for tensor, offset in opened[-1].offsets.items()}
        yield offsets
    finally:
        for output in opened:
            output.close()
    if len(shards) > 1:
        size = sum(tensor.size for shard in shards for tensor in shard.values())
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(names.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
