"""The pipeline: tensors go through a method a part at a time, on several threads, in memory that does not grow with them."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from common import UserError
from merging.anatomy import Anatomy
from merging.checkpoint import Tensor
from merging.lazy import kernels
from merging.merged import BF16, Copy, Merged, to_bits
from merging.shards import PAGE
from merging.survey import Array, Part, Place, Survey

PART = 2**18
"""Weights that are read and go through an equation at a time: a core's cache holds such a part of all sources."""
RUN = 2**20
"""Weights that are written at a time."""


@dataclass(frozen=True)
class Rows:
    """Rows of a tensor that one source gives as they are: its place among the sources, and the sorted numbers of the rows."""

    source: int
    numbers: Array


@dataclass(frozen=True)
class Job:
    """One tensor of the merge, or the first or the last rows of one.

    Attributes:
        sources: where the recipe's models store it, the base first if there is one.
        has_base: whether there is one.
        survey: what must be known of it first; one for all jobs if it is of the whole model.
        equation: (base, models, what the survey says of the part) -> the merged part.
        write: takes bytes and their place in the tensor, in bytes.
        dtype: the type that is written.
        anatomy: what looks at some of the parts while they are merged, if anything.
        unmerged: rows that are not what the equation says. Surveys and anatomy see them as merged nevertheless.
    """

    place: Place
    sources: tuple[Tensor, ...]
    has_base: bool
    survey: Survey | None
    equation: Callable[[Array | None, Array, Any], Merged]
    write: Callable[[Array, int], None]
    dtype: np.dtype
    anatomy: Anatomy | None = None
    unmerged: Rows | None = None


class NotFinite(Exception):
    """A merged weight, or one of a source's, is NaN or infinite."""

    def __init__(self, job: Job, source: Tensor | None) -> None:
        self.job, self.source = job, source


class Desk(local):
    """A thread's memory, used again for every part: touching fresh pages costs more than merging them."""

    def __init__(self) -> None:
        self.rooms: dict[Any, mmap.mmap] = {}

    def room(self, key: Any, size: int, dtype: np.dtype | type) -> Array:
        """`size` weights' worth of memory, from a page's beginning on."""
        needed = max(size * np.dtype(dtype).itemsize, 1)
        if len(self.rooms.get(key, b"")) < needed:
            self.rooms[key] = mmap.mmap(-1, needed)
        return np.frombuffer(self.rooms[key], dtype, count=size)


def keep_memory() -> None:
    """Make the C library keep freed memory for the next part, where it can be told so: fresh pages cost more than the arithmetic on them."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(option, 2**30)


class Stream:
    """Threads that read, compute and write; one more than there are cores for, since some wait for the disk."""

    def __init__(self, threads: int, run: int = RUN, part: int = PART) -> None:
        keep_memory()
        _ = kernels.TILE  # loads them: the lazy import is not for many threads at once
        self.run, self.part = run, part
        self.pool = ThreadPoolExecutor(threads + 1, thread_name_prefix="merge")
        self.desk = Desk()
        self.files = Files()

    def merge(self, jobs: Sequence[Job], done: Callable[[int], Any]) -> None:
        """Carry out all jobs; `done` is told the number of weights of each run that is written.

        Raises:
            NotFinite, UserError, OSError: the first that went wrong; nothing more is written then.
        """
        writing: set[Future[None]] = set()
        try:
            if jobs and jobs[0].survey and jobs[0].survey.whole_model:
                self.conduct([job for job in jobs if job.survey])
            for job in jobs:
                parts = self.parts(job)
                if job.survey and not job.survey.whole_model:
                    self.conduct([job])
                writing |= {self.pool.submit(self.write, job, run, len(parts), done) for run in self.runs(parts)}
                finished = {future for future in writing if future.done()}
                writing -= finished
                for future in finished:
                    future.result()
            for future in wait(writing, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            self.pool.shutdown(cancel_futures=True)
            self.files.close()

    def conduct(self, jobs: Sequence[Job]) -> None:
        """The passes of the survey that these jobs share."""
        survey, number = jobs[0].survey, 0
        while number < survey.passes:
            found = []
            for job in jobs:
                parts = self.parts(job)
                seen = parts[:: survey.stride(number, len(parts))]
                found.append(self.pool.map(lambda part, number=number, job=job: self.look(job, number, part), seen))
            survey.conclude(number, [each for parts in found for each in parts])
            number += 1

    def parts(self, job: Job) -> list[Part]:
        """The tensor's parts. Their bounds depend on the tensor and the method alone, so that sums over parts do, too."""
        size = job.place.size
        unit = job.survey.unit if job.survey else "weight"
        step = size if unit == "tensor" else self.part
        if unit == "row":
            row = job.place.shape[-1] if job.place.shape else 1
            # Whole rows; and whole pages, too, if a few of them make one.
            together = lcm(row, PAGE) if lcm(row, PAGE) <= self.part else row
            step = max(self.part // together, 1) * together
        return [Part(index, start, min(step, size - start)) for index, start in enumerate(range(0, size, max(step, 1)))]

    def runs(self, parts: list[Part]) -> Iterator[list[Part]]:
        """Parts that are written together."""
        each = max(self.run // parts[0].size, 1) if parts else 1
        return (parts[first : first + each] for first in range(0, len(parts), each))

    def look(self, job: Job, number: int, part: Part) -> Any:
        return job.survey.look(number, part, *self.load(job, part))

    def write(self, job: Job, run: list[Part], parts: int, done: Callable[[int], Any]) -> None:
        """Merge and write a run of a tensor that has so many parts."""
        size = sum(part.size for part in run)
        stored = self.desk.room("merged", size, job.dtype)
        for part in run:
            base, models = self.load(job, part)
            merged = job.equation(base, models, job.survey.of(part, base, models) if job.survey else None)
            place = stored[part.start - run[0].start :][: part.size]
            bits = to_bits(place) if job.dtype in (BF16, np.float32) else self.desk.room("fp32", part.size, np.uint32)
            broken = merged.write(bits)
            if broken >= 0:
                raise NotFinite(job, job.sources[broken] if broken < len(job.sources) else None)
            if job.anatomy and job.anatomy.wants(part, parts):
                self.examine(job, part, base, models, bits)
            if job.unmerged:
                self.copy_rows(job, part, [*([] if base is None else [base]), *models][job.unmerged.source], bits)
            if job.dtype not in (BF16, np.float32):
                with np.errstate(over="ignore"):
                    place[:] = bits.view(np.float32)
                if not np.isfinite(place).all():
                    raise NotFinite(job, None)
        job.write(stored, run[0].start * job.dtype.itemsize)
        done(size)

    def examine(self, job: Job, part: Part, base: Array | None, models: Array, merged: Array) -> None:
        if job.anatomy.base:
            models = models if base is None else np.concatenate([base[None], models])
            base = np.empty(part.size, np.uint16 if job.anatomy.base.dtype == BF16 else np.uint32)
            self.read(job.anatomy.base, part, base)
        job.anatomy.look(part, base, models, merged)

    def copy_rows(self, job: Job, part: Part, source: Array, bits: Array) -> None:
        """Overwrite what a merged part has of the unmerged rows with the bits of their source."""
        width = job.place.size // job.place.shape[0]
        rows = job.unmerged.numbers
        first, last = np.searchsorted(rows, [part.start // width, -(-(part.start + part.size) // width)])
        for row in rows[first:last].tolist():
            here = slice(max(row * width - part.start, 0), min((row + 1) * width - part.start, part.size))
            if Copy(source[here]).write(bits[here]) >= 0:
                raise NotFinite(job, None)

    def load(self, job: Job, part: Part) -> tuple[Array | None, Array]:
        """The bits of a part of all sources: the base's, if there is one, and the others', a row each."""
        count = len(job.sources)
        kind = np.uint16 if all(tensor.dtype == BF16 for tensor in job.sources) else np.uint32
        bits = self.desk.room("bits", count * part.size, kind).reshape(count, part.size)
        for tensor, row in zip(job.sources, bits, strict=True):
            self.read(tensor, part, row)
        return (bits[0], bits[1:]) if job.has_base else (None, bits)

    def read(self, tensor: Tensor, part: Part, bits: Array) -> None:
        """Fill `bits` with a part of a tensor: bf16's as they are stored, or fp32's of any type."""
        if bits.dtype == np.uint16:
            self.files.read(tensor, part.start, bits)
            return
        stored = self.desk.room("stored", part.size, tensor.dtype)
        self.files.read(tensor, part.start, stored)
        with np.errstate(over="ignore"):  # an fp64 too large for fp32 becomes infinite, which is an error later
            bits.view(np.float32)[:] = stored


class Files:
    """Files that are read, each opened once."""

    def __init__(self) -> None:
        self.opened = ExitStack()
        self.numbers: dict[Path, int] = {}

    def read(self, tensor: Tensor, start: int, into: Array) -> None:
        """Read a tensor's weights from the `start`-th on.

        Raises:
            UserError: the file has become shorter than it was when its header was read.
        """
        if tensor.file not in self.numbers:
            # Two threads may open it at once: then one of the two is not used, but both are closed.
            file = self.opened.enter_context(tensor.file.open("rb", buffering=0))
            self.numbers[tensor.file] = file.fileno()
        offset = tensor.offset + start * tensor.dtype.itemsize
        view = memoryview(into.view(np.uint8))
        while view:
            try:
                count = os.preadv(self.numbers[tensor.file], [view], offset)
            except OSError as error:
                error.filename = str(tensor.file)
                raise
            if not count:
                raise UserError(
                    f"{tensor.file} has become shorter while it was read. Does something write to it? Download or copy it again."
                )
            view, offset = view[count:], offset + count

    def close(self) -> None:
        self.opened.close()
