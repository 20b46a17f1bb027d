"""The pipeline: tensors go through a method a part at a time, on several threads, in memory that does not grow with them."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from math import lcm
from pathlib import Path
from threading import Semaphore, local
from typing import Any

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.anatomy import Anatomy
from langmerge.merging.checkpoint import Tensor
from langmerge.merging.lazy import kernels, load_kernels
from langmerge.merging.merged import BF16, Copy, Merged, to_bits
from langmerge.merging.shards import PAGE
from langmerge.merging.survey import Array, Part, Place, Survey

PART = 2**19
"""Weights that are read and go through an equation at a time: the cores' caches hold such a part of all sources; half of it where a method
goes by rows, for its random numbers and probabilities are to lie there, too."""
RUN = 2**22
"""Weights that a thread merges, or a survey looks at, before it hands over its core, and that are written at a time."""
HOLD = 2**27
"""Bytes of a merged tensor up to which it may wait in memory until it is known of all weights how they are merged."""
WRITERS = 2
"""Threads that may wait for the disk while all cores compute."""
JOBS = 3
"""Tensors that are merged at the same time, so that no thread has to wait for the last part of one."""


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


@dataclass(frozen=True)
class Held:
    """A merged tensor in memory, in which some weights are still to be merged again: of each part, those with these indices."""

    bits: Array
    unsure: dict[int, Array]


class Stream:
    """Threads that read, compute and write. There are more than cores, for some wait for the disk; no more than cores compute, for they
    would push each other's parts out of the caches."""

    def __init__(self, threads: int, run: int = RUN, part: int = PART, hold: int = HOLD) -> None:
        keep_memory()
        load_kernels()  # the lazy import is not for many threads at once
        self.run, self.part, self.hold = run, part, hold
        self.cores = Semaphore(threads)
        self.leaders = ThreadPoolExecutor(JOBS, thread_name_prefix="survey")
        self.lookers = ThreadPoolExecutor(threads, thread_name_prefix="look")
        self.writers = ThreadPoolExecutor(threads + WRITERS, thread_name_prefix="write")
        self.desk = Desk()
        self.files = Files()

    def merge(self, jobs: Sequence[Job], done: Callable[[int], Any]) -> None:
        """Carry out all jobs; `done` is told the number of weights of each run that is written.

        Raises:
            NotFinite, UserError, OSError: the first that went wrong; nothing more is written then.
        """
        try:
            if jobs and jobs[0].survey and jobs[0].survey.whole_model:
                self.conduct([job for job in jobs if job.survey])
            working = [future for job in jobs for future in self.start(job, done)]
            for future in wait(working, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            # What leaders wait for is cancelled first; then they end.
            for pool in (self.lookers, self.writers, self.leaders):
                pool.shutdown(cancel_futures=True)
            self.files.close()

    def start(self, job: Job, done: Callable[[int], Any]) -> list[Future[None]]:
        """Begin with a tensor."""
        if job.survey and job.survey.passes and not job.survey.whole_model:
            return [self.leaders.submit(self.survey, job, done)]
        return self.start_writing(job, None, done)

    def start_writing(self, job: Job, held: Held | None, done: Callable[[int], Any]) -> list[Future[None]]:
        parts = self.parts(job)
        return [self.writers.submit(self.write, job, run, len(parts), held, done) for run in self.runs(parts)]

    def survey(self, job: Job, done: Callable[[int], Any]) -> None:
        """Survey a tensor, then merge and write it."""
        held = self.conduct([job])
        for future in self.start_writing(job, held, done):
            future.result()

    def conduct(self, jobs: Sequence[Job]) -> Held | None:
        """The passes of the survey that these jobs share; what was merged in the last one, if it could be."""
        survey, number, held = jobs[0].survey, 0, None
        while number < survey.passes:
            held = self.hold_for(jobs) if survey.foresees(number) else None
            if survey.sample(number):
                found = [self.lookers.submit(self.look_at_sample, job, number).result() for job in jobs]
            else:
                looks = [
                    self.lookers.map(partial(self.look, job, number, held), self.runs(self.parts(job))) for job in jobs
                ]
                found = [each for runs in looks for run in runs for each in run]
            with self.cores:
                survey.conclude(number, found)
            number += 1
        if held:
            self.settle(jobs[0], held)
        return held

    def hold_for(self, jobs: Sequence[Job]) -> Held | None:
        """Room for the tensor, if there is only one, and not too large."""
        job = jobs[0]
        bits = np.dtype(np.uint16 if job.dtype == BF16 else np.uint32)
        if len(jobs) > 1 or job.place.size * bits.itemsize > self.hold:
            return None
        return Held(self.desk.room("held", job.place.size, bits), {})

    def settle(self, job: Job, held: Held) -> None:
        """Merge the weights again of which the survey was not sure."""
        with self.cores:
            base, models, known = job.survey.settled()
            bits = np.empty(len(models[0]), held.bits.dtype)
            self.check(job, job.equation(base, models, known).write(bits))
            done = 0
            for part in self.parts(job):
                indices = held.unsure[part.index]
                kernels.scatter(bits[done:], indices, part.start, held.bits)
                done += indices.size

    def parts(self, job: Job) -> list[Part]:
        """The tensor's parts. Their bounds depend on the tensor and the method alone, so that sums over parts do, too."""
        size = job.place.size
        unit = job.survey.unit if job.survey else "weight"
        step = size if unit == "tensor" else self.part
        if unit == "row":
            row = job.place.shape[-1] if job.place.shape else 1
            # Whole rows; and whole pages, too, if a few of them make one.
            half = self.part // 2
            together = lcm(row, PAGE) if lcm(row, PAGE) <= half else row
            step = max(half // together, 1) * together
        return [Part(index, start, min(step, size - start)) for index, start in enumerate(range(0, size, max(step, 1)))]

    def runs(self, parts: list[Part]) -> Iterator[list[Part]]:
        """Parts that are written together."""
        each = max(self.run // parts[0].size, 1) if parts else 1
        return (parts[first : first + each] for first in range(0, len(parts), each))

    def look(self, job: Job, number: int, held: Held | None, run: list[Part]) -> list[Any]:
        """Let the survey see parts, and merge them where they are held; what it says of each."""
        with self.cores:
            return [self.look_at(job, number, held, part) for part in run]

    def look_at(self, job: Job, number: int, held: Held | None, part: Part) -> Any:
        base, models = self.load(job, part)
        if not held:
            return job.survey.look(number, part, base, models)
        found, known, held.unsure[part.index] = job.survey.foresee(part, base, models)
        self.check(job, job.equation(base, models, known).write(held.bits[part.start :][: part.size]))
        return found

    def look_at_sample(self, job: Job, number: int) -> Any:
        """Let the survey see runs of weights from all over the tensor: a random place in each of as many equal stretches."""
        with self.cores:
            runs, length = job.survey.sample(number)
            starts = (
                (np.arange(runs) + np.random.default_rng(0).random(runs)) * (job.place.size - length) / runs
            ).astype(int)
            base, models = self.load_runs(job, starts.tolist(), length)
            return job.survey.look(number, Part(0, 0, runs * length), base, models)

    def write(self, job: Job, run: list[Part], parts: int, held: Held | None, done: Callable[[int], Any]) -> None:
        """Merge and write a run of a tensor that has so many parts."""
        # What is held is merged already: no core is needed.
        with nullcontext() if held else self.cores:
            merged = self.merged(job, run, parts, held)
        job.write(merged, run[0].start * job.dtype.itemsize)
        done(merged.size)

    def merged(self, job: Job, run: list[Part], parts: int, held: Held | None) -> Array:
        """A merged run."""
        size, direct = sum(part.size for part in run), job.dtype in (BF16, np.float32)
        stored = held.bits[run[0].start :][:size] if held and direct else self.desk.room("merged", size, job.dtype)
        for part in run:
            place = stored[part.start - run[0].start :][: part.size]
            if held:
                bits = held.bits[part.start :][: part.size]
            else:
                bits = to_bits(place) if direct else self.desk.room("fp32", part.size, np.uint32)
                base, models = self.load(job, part)
                known = job.survey.of(part, base, models) if job.survey else None
                self.check(job, job.equation(base, models, known).write(bits))
            piece = job.anatomy.piece(part, parts) if job.anatomy else None
            if piece:
                self.examine(job, piece, *self.load(job, piece), bits[: piece.size])
            if job.unmerged:
                base, models = self.load(job, part)
                self.copy_rows(job, part, [*([] if base is None else [base]), *models][job.unmerged.source], bits)
            if not direct:
                with np.errstate(over="ignore"):
                    place[:] = bits.view(np.float32)
                if not np.isfinite(place).all():
                    raise NotFinite(job, None)
        return stored

    def check(self, job: Job, broken: int) -> None:
        """Raise what `Merged.write` found broken."""
        if broken >= 0:
            raise NotFinite(job, job.sources[broken] if broken < len(job.sources) else None)

    def examine(self, job: Job, part: Part, base: Array | None, models: Array, merged: Array) -> None:
        if job.anatomy.base:
            models = models if base is None else np.concatenate([base[None], models])
            base = np.empty(part.size, uniform_bits([job.anatomy.base]))
            self.read([job.anatomy.base], [part.start], base[None])
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
        return self.load_runs(job, [part.start], part.size)

    def load_runs(self, job: Job, starts: Sequence[int], length: int) -> tuple[Array | None, Array]:
        """As `load`, of runs of weights from these on, one after the other."""
        bits = self.desk.room("bits", len(job.sources) * len(starts) * length, uniform_bits(job.sources)).reshape(
            len(job.sources), -1
        )
        self.read(job.sources, starts, bits)
        return (bits[0], bits[1:]) if job.has_base else (None, bits)

    def read(self, tensors: Sequence[Tensor], starts: Sequence[int], bits: Array) -> None:
        """Fill the rows of `bits`, as uniform_bits says, with a tensor's weights each: runs from these on, one after the other."""
        kinds = {tensor.dtype for tensor in tensors}
        if kinds in ({BF16}, {np.dtype(np.float32)}):
            self.files.read(tensors, starts, bits)
            return
        for tensor, row in zip(tensors, bits, strict=True):
            stored = self.desk.room("stored", row.size, tensor.dtype)
            self.files.read([tensor], starts, stored.view(np.uint8)[None])
            with np.errstate(over="ignore"):  # an fp64 too large for fp32 becomes infinite, which is an error later
                row.view(np.float32)[:] = stored


def uniform_bits(tensors: Sequence[Tensor]) -> np.dtype:
    """As what all these tensors are seen: bf16's bits if all are bf16, else fp32's."""
    return np.dtype(np.uint16 if all(tensor.dtype == BF16 for tensor in tensors) else np.uint32)


class Files:
    """Files that are read, each opened once."""

    def __init__(self) -> None:
        self.opened = ExitStack()
        self.numbers: dict[Path, int] = {}

    def read(self, tensors: Sequence[Tensor], starts: Sequence[int], into: Array) -> None:
        """Fill the rows of `into` with a tensor each: equally long runs of its weights, from `starts` on, one after the other.

        Raises:
            UserError: a file has become shorter than it was when its header was read.
        """
        rows = into.view(np.uint8)
        length = rows.shape[1] // len(starts)
        files = np.array([self.number(tensor.file) for tensor in tensors], np.intc)
        offsets = np.array(
            [[tensor.offset + start * tensor.dtype.itemsize for start in starts] for tensor in tensors], np.int64
        )
        if kernels.read(files, offsets, length, rows):
            return
        for tensor, row, places in zip(tensors, rows, offsets.tolist(), strict=True):
            for run, offset in enumerate(places):
                self.read_slowly(tensor.file, offset, memoryview(row[run * length :][:length]))

    def read_slowly(self, path: Path, offset: int, view: memoryview) -> None:
        """Read bytes that could not be read at once, or say why they cannot be read."""
        while view:
            try:
                count = os.preadv(self.number(path), [view], offset)
            except OSError as error:
                error.filename = str(path)
                raise
            if not count:
                raise UserError(
                    f"{path} has become shorter while it was read. Does something write to it? Download or copy it again."
                )
            view, offset = view[count:], offset + count

    def number(self, path: Path) -> int:
        if path not in self.numbers:
            # Two threads may open it at once: then one of the two is not used, but both are closed.
            self.numbers[path] = self.opened.enter_context(path.open("rb", buffering=0)).fileno()
        return self.numbers[path]

    def close(self) -> None:
        self.opened.close()
