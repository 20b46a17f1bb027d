"""A merge into memory: the bytes that `langmerge merge` would write, and nothing on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from langmerge.merging.anatomy import Anatomy
from langmerge.merging.engine import Merge
from langmerge.merging.jobs import refusing_not_finite
from langmerge.merging.shards import OutputTensor, file_names, header
from langmerge.merging.stream import Stream
from langmerge.merging.tensors import Array

GROUP = 2**28
"""Bytes of tensors that are merged together, and that are in memory beside the model."""

MergedTensor = tuple[str, OutputTensor, Array]
"""A tensor's name, its type and shape, and its bytes."""


class Memory:
    """The bytes of a tensor, see `shards.Target`; there is none before `open`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.bytes = np.empty(0, np.uint8)

    def open(self) -> None:
        self.bytes = np.empty(self.size, np.uint8)

    def write(self, data: Array, offset: int) -> None:
        flat = data.view(np.uint8).reshape(-1)
        self.bytes[offset : offset + flat.size] = flat

    def take(self) -> Array:
        """The bytes, which are given away."""
        taken, self.bytes = self.bytes, np.empty(0, np.uint8)
        return taken


class MemoryMerge:
    """A merge whose tensors are handed over one by one.

    Attributes:
        digests: after all tensors, the SHA-256 of each file that `Merge.write` would have written.
    """

    def __init__(self, merge: Merge, threads: int, anatomies: Mapping[str, Anatomy], group: int = GROUP) -> None:
        """Prepare a merge.

        Args:
            threads: how many cores to use.
            anatomies: of the tensors of which statistics are wanted.
            group: bytes that are merged together.
        """
        self.merge, self.threads, self.anatomies, self.group = merge, threads, anatomies, group
        self.digests: dict[str, str] = {}

    def tensors(self) -> Iterator[MergedTensor]:
        """The merged tensors, in the order of the files. Nobody may change their bytes.

        Raises:
            UserError: a source cannot be read, or a merged weight is not finite.
        """
        files = file_names(self.merge.shards)
        places = {name: file for file, shard in zip(files, self.merge.shards, strict=True) for name in shard}
        hashes = {file: hashlib.sha256(header(shard)) for file, shard in zip(files, self.merge.shards, strict=True)}
        targets = {name: Memory(tensor.size) for shard in self.merge.shards for name, tensor in shard.items()}
        jobs = self.merge.all_jobs({name: (target, 0) for name, target in targets.items()}, self.anatomies)
        hashed: list[Future[None]] = []
        with refusing_not_finite(), Stream(self.threads) as stream, ThreadPoolExecutor(1) as hasher:
            stream.prepare([job for own in jobs.values() for job in own])
            for group in self.groups():
                for name in group:
                    targets[name].open()
                self.merge.copy_buffers({name: (targets[name], 0) for name in group})
                stream.merge([job for name in group for job in jobs[name]], lambda weights: None)
                for future in hashed:  # before more memory is filled
                    future.result()
                taken = {name: targets[name].take() for name in group}
                hashed = [hasher.submit(hashes[places[name]].update, data) for name, data in taken.items()]
                for name, data in taken.items():
                    yield name, group[name], data
        self.digests = {file: found.hexdigest() for file, found in hashes.items()}

    def groups(self) -> Iterator[dict[str, OutputTensor]]:
        """Tensors in the order of the files, so many that they fill `group` bytes."""
        found: dict[str, OutputTensor] = {}
        size = 0
        for shard in self.merge.shards:
            for name, tensor in shard.items():
                found[name] = tensor
                size += tensor.size
                if size >= self.group:
                    yield found
                    found, size = {}, 0
        if found:
            yield found
