"""Merging the chunks of a tensor, each right after it was read.

Shapes: `C` weights of a chunk, `N` of the tensor, `M` models without the base, `U` undecided
weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from langmerge.merging.buffers import Buffers
from langmerge.merging.expressions import BF16, Copy, to_bits
from langmerge.merging.jobs import Job, NotFinite
from langmerge.merging.lazy import kernels
from langmerge.merging.passes.base import MergingPass
from langmerge.merging.reader import Reader, common_type
from langmerge.merging.tensors import Array, Chunk


@dataclass(frozen=True)
class MergedTensor:
    """A tensor that is merged in memory, during the last pass over it.

    Attributes:
        bits: (N,) of the merged weights.
        undecided: for each chunk, the indices in it of the weights that must be merged again, (U,).
    """

    bits: Array
    undecided: dict[int, Array] = field(default_factory=dict)


class Merger:
    """Merges chunks: reads them, evaluates the equation, copies unmerged rows."""

    def __init__(self, reader: Reader, buffers: Buffers) -> None:
        self.reader, self.buffers = reader, buffers

    # ---- in the pass that writes

    def merge_batch(self, job: Job, batch: list[Chunk], chunks: int, merged: MergedTensor | None) -> Array:
        """The weights of consecutive chunks of a tensor, of the type that is written.

        Args:
            chunks: how many the tensor has.
            merged: the tensor, if an earlier pass has merged it.
        """
        start, size = batch[0].start, sum(chunk.size for chunk in batch)
        direct = job.dtype in (BF16, np.float32)
        stored = merged.bits[start:][:size] if merged and direct else self.buffers.get("merged", size, job.dtype)
        for chunk in batch:
            out = stored[chunk.start - start :][: chunk.size]
            if merged:
                bits = merged.bits[chunk.start :][: chunk.size]
            else:
                bits = to_bits(out) if direct else self.buffers.get("fp32", chunk.size, np.uint32)
                self.merge(job, chunk, bits)
            self.examine(job, chunk, chunks, bits)
            if job.unmerged:
                self.copy_rows(job, chunk, bits)
            if not direct:
                with np.errstate(over="ignore"):
                    out[:] = bits.view(np.float32)
                if not np.isfinite(out).all():
                    raise NotFinite(job, None)
        return stored

    def merge(self, job: Job, chunk: Chunk, out: Array) -> None:
        """Fill `out` (C,) with the bits of a merged chunk."""
        base, models = self.reader.chunk(job, chunk)
        prepared = job.preparation.for_chunk(chunk, base, models) if job.preparation else None
        check(job, job.equation(base, models, prepared).evaluate(out))

    def examine(self, job: Job, chunk: Chunk, chunks: int, bits: Array) -> None:
        """Show the anatomy what it wants to see of a chunk: its sources and its merged bits
        (C,)."""
        part = job.anatomy.part(chunk, chunks) if job.anatomy else None
        if not part:
            return
        base, models = self.reader.chunk(job, part)
        if job.anatomy.base:
            models = models if base is None else np.concatenate([base[None], models])
            base = np.empty(part.size, common_type([job.anatomy.base]))
            self.reader.read([job.anatomy.base], [part.start], base[None])
        job.anatomy.examine(part, base, models, bits[: part.size])

    def copy_rows(self, job: Job, chunk: Chunk, bits: Array) -> None:
        """Overwrite what a merged chunk, bits (C,), has of the unmerged rows."""
        base, models = self.reader.chunk(job, chunk)
        source = [*([] if base is None else [base]), *models][job.unmerged.source]
        width = job.tensor.size // job.tensor.shape[0]
        rows = job.unmerged.rows
        first, last = np.searchsorted(rows, [chunk.start // width, -(-(chunk.start + chunk.size) // width)])
        for row in rows[first:last].tolist():
            begin, end = row * width - chunk.start, (row + 1) * width - chunk.start
            part = slice(max(begin, 0), min(end, chunk.size))
            if Copy(source[part]).evaluate(bits[part]) >= 0:
                raise NotFinite(job, None)

    # ---- in a merging pass

    def new_tensor(self, job: Job, max_bytes: int) -> MergedTensor | None:
        """Memory for merging the whole tensor, if it takes no more than `max_bytes`."""
        dtype = np.dtype(np.uint16 if job.dtype == BF16 else np.uint32)
        if job.tensor.size * dtype.itemsize > max_bytes:
            return None
        return MergedTensor(self.buffers.get("tensor", job.tensor.size, dtype))

    def scan_and_merge(self, job: Job, current: MergingPass, merged: MergedTensor, chunk: Chunk) -> Any:
        """Scan a chunk and merge it into the tensor; returns what the scan returned."""
        base, models = self.reader.chunk(job, chunk)
        scan, prepared, merged.undecided[chunk.index] = current.scan_and_prepare(chunk, base, models)
        check(job, job.equation(base, models, prepared).evaluate(merged.bits[chunk.start :][: chunk.size]))
        return scan

    def merge_undecided(self, job: Job, finished: MergingPass, merged: MergedTensor, chunks: list[Chunk]) -> None:
        """Merge the weights again that were undecided in a pass."""
        base, models, prepared = finished.resolve()
        bits = np.empty(len(models[0]), merged.bits.dtype)
        check(job, job.equation(base, models, prepared).evaluate(bits))
        done = 0
        for chunk in chunks:
            indices = merged.undecided[chunk.index]
            kernels.scatter(bits[done:], indices, chunk.start, merged.bits)
            done += indices.size


def check(job: Job, broken: int) -> None:
    """Raise what `Expression.evaluate` found."""
    if broken >= 0:
        raise NotFinite(job, job.sources[broken] if broken < len(job.sources) else None)
