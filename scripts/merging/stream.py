"""The pipeline: tensors go through a method a part at a time, on several threads, in memory that does not grow with them."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from threading import BoundedSemaphore, local
from typing import Any

import numpy as np

from common import UserError
from merging.bits import BF16, from_fp32, to_fp32
from merging.checkpoint import Tensor
from merging.survey import Array, Part, Place, Survey

PART = 2**17
"""Weights that go through an equation at a time: a core's cache holds a few such parts in fp32."""
RUN = 2**20
"""Weights that are read and written at a time."""


@dataclass(frozen=True)
class Job:
    """One tensor of the merge.

    Attributes:
        sources: where the recipe's models store it, the base first if there is one.
        has_base: whether there is one.
        survey: what must be known of it first; one for all jobs if it is of the whole model.
        equation: (base, models, what the survey says of the part) -> the merged part.
        write: takes bytes and their place in the tensor, in bytes.
        dtype: the type that is written.
    """

    place: Place
    sources: tuple[Tensor, ...]
    has_base: bool
    survey: Survey | None
    equation: Callable[[Array | None, Array, Any], Array]
    write: Callable[[Array, int], None]
    dtype: np.dtype


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
    """Threads that read, compute and write. Twice as many as may compute at a time: the others wait for the disk."""

    def __init__(self, threads: int, run: int = RUN, part: int = PART) -> None:
        keep_memory()
        self.run, self.part = run, part
        self.cores = BoundedSemaphore(threads)
        self.pool = ThreadPoolExecutor(2 * threads, thread_name_prefix="merge")
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
                self.conduct(jobs)
            for job in jobs:
                runs = list(self.runs(job))
                if job.survey and not job.survey.whole_model:
                    self.conduct([job])
                writing |= {self.pool.submit(self.write, job, run, done) for run in runs}
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
        survey = jobs[0].survey
        every = [(job, run) for job in jobs for run in self.runs(job)]
        for number in range(survey.passes):
            found = self.pool.map(lambda each, number=number: self.look(each[0], number, each[1]), every)
            survey.conclude(number, [each for parts in found for each in parts])

    def runs(self, job: Job) -> Iterator[list[Part]]:
        """The tensor's parts, in the runs in which they are read and written.

        A part's bounds depend on the tensor and the method alone, so that sums over parts do, too.
        """
        size = job.place.size
        unit = job.survey.unit if job.survey else "weight"
        step = size if unit == "tensor" else self.part
        if unit == "row":
            row = job.place.shape[-1] if job.place.shape else 1
            # Whole rows, and whole pages if that is possible with a few of them.
            together = lcm(row, PART // 64) if lcm(row, PART // 64) <= self.part else row
            step = max(self.part // together, 1) * together
        parts = [Part(index, start, min(step, size - start)) for index, start in enumerate(range(0, size, max(step, 1)))]
        each = max(self.run // max(step, 1), 1)
        return (parts[first : first + each] for first in range(0, len(parts), each))

    def look(self, job: Job, number: int, run: list[Part]) -> list[Any]:
        with self.sources(job, run) as load:
            return [job.survey.look(number, part, *load(part)) for part in run]

    def write(self, job: Job, run: list[Part], done: Callable[[int], Any]) -> None:
        size = sum(part.size for part in run)
        stored = self.desk.room("merged", size, job.dtype)
        with self.sources(job, run) as load:
            for part in run:
                base, models = load(part)
                merged = job.equation(base, models, job.survey.of(part) if job.survey else None)
                if not from_fp32(merged, stored[part.start - run[0].start :][: part.size]):
                    raise NotFinite(job, None)
        job.write(stored, run[0].start * job.dtype.itemsize)
        done(size)

    @contextmanager
    def sources(self, job: Job, run: list[Part]) -> Iterator[Callable[[Part], tuple[Array | None, Array]]]:
        """Read a run of all sources; then, with a core to compute on, yield what gives a part of it in fp32."""
        first, size, count = run[0].start, sum(part.size for part in run), len(job.sources)
        if all(tensor.dtype == BF16 for tensor in job.sources):
            stored = self.desk.room("stored", count * size, np.uint16).reshape(count, size)
        else:
            stored = [self.desk.room(("stored", index), size, tensor.dtype) for index, tensor in enumerate(job.sources)]
        for tensor, given in zip(job.sources, stored, strict=True):
            self.files.read(tensor, first, given)
        room = self.desk.room("fp32", count * max(part.size for part in run), np.float32)

        def load(part: Part) -> tuple[Array | None, Array]:
            begin, end = part.start - first, part.start - first + part.size
            given = stored[:, begin:end] if isinstance(stored, np.ndarray) else [each[begin:end] for each in stored]
            weights = room[: count * part.size].reshape(count, part.size)
            broken = to_fp32(given, weights)
            if broken is not None:
                raise NotFinite(job, job.sources[broken])
            return (weights[0], weights[1:]) if job.has_base else (None, weights)

        with self.cores:
            yield load


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
                raise UserError(f"{tensor.file} has become shorter while it was read. Does something write to it? Download or copy it again.")
            view, offset = view[count:], offset + count

    def close(self) -> None:
        self.opened.close()
