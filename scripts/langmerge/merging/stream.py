"""Scheduling a merge: which threads work on which chunks, and how many compute at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from functools import partial
from threading import Semaphore
from typing import Any, Self

import numpy as np

from langmerge.merging.buffers import Buffers, keep_freed_memory
from langmerge.merging.chunking import BATCH, CHUNK, batches_of, chunks_of
from langmerge.merging.jobs import Job
from langmerge.merging.lazy import load_kernels
from langmerge.merging.merger import MergedTensor, Merger
from langmerge.merging.passes.base import MergingPass, Pass
from langmerge.merging.reader import Reader
from langmerge.merging.tensors import Chunk

MAX_IN_MEMORY = 2**27
"""Bytes of a tensor up to which it is merged in memory during the last pass over it."""
EXTRA_WRITERS = 2
"""Threads that may wait for the disk while all cores compute."""
TENSORS = 3
"""Tensors that are passed over at a time, so that no thread waits for the last chunk of one."""

Progress = Callable[[int], Any]
"""Is told the number of weights of each batch that is written."""


class Stream:
    """Threads that read, compute and write, as long as a `with` block lasts.

    There are more threads than cores, because some wait for the disk. But no more compute at a
    time than there are cores, because they would evict each other's chunks from the caches.
    """

    def __init__(
        self, threads: int, batch_size: int = BATCH, chunk_size: int = CHUNK, max_in_memory: int = MAX_IN_MEMORY
    ) -> None:
        """Start the threads.

        Args:
            threads: how many compute at a time.
            batch_size, chunk_size: in weights (chunking.py).
            max_in_memory: in bytes.
        """
        keep_freed_memory()
        load_kernels()  # the lazy import is not thread-safe
        self.batch_size, self.chunk_size, self.max_in_memory = batch_size, chunk_size, max_in_memory
        self.cores = Semaphore(threads)
        self.leaders = ThreadPoolExecutor(TENSORS, thread_name_prefix="tensor")
        self.scanners = ThreadPoolExecutor(threads, thread_name_prefix="scan")
        self.writers = ThreadPoolExecutor(threads + EXTRA_WRITERS, thread_name_prefix="write")
        self.reader = Reader(buffers := Buffers())
        self.merger = Merger(self.reader, buffers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What the leaders wait for is cancelled first, and then they end.
        for pool in (self.scanners, self.writers, self.leaders):
            pool.shutdown(cancel_futures=True)
        self.reader.close()

    def prepare(self, jobs: Sequence[Job]) -> None:
        """Pass over the whole model, where the method does so; `jobs` are all of the model's."""
        preparing = [job for job in jobs if job.preparation]
        if preparing and preparing[0].preparation.whole_model:
            self.run_passes(preparing, preparing[0].preparation.first_pass())

    def merge(self, jobs: Sequence[Job], progress: Progress) -> None:
        """Carry out jobs, after `prepare`: all of the model's, or some after others.

        Raises:
            NotFinite, UserError, OSError: the first error, after which the stream is of no use.
        """
        futures = [future for job in jobs for future in self.start(job, progress)]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()

    def start(self, job: Job, progress: Progress) -> list[Future[None]]:
        """Begin with a tensor."""
        preparation = job.preparation
        first = preparation.first_pass() if preparation and not preparation.whole_model else None
        if first:
            return [self.leaders.submit(self.lead, job, first, progress)]
        return self.start_writing(job, None, progress)

    def lead(self, job: Job, first: Pass, progress: Progress) -> None:
        """Pass over a tensor, then merge and write it."""
        merged = self.run_passes([job], first)
        for future in self.start_writing(job, merged, progress):
            future.result()

    def start_writing(self, job: Job, merged: MergedTensor | None, progress: Progress) -> list[Future[None]]:
        chunks = self.chunks(job)
        return [
            self.writers.submit(self.write, job, batch, len(chunks), merged, progress)
            for batch in batches_of(chunks, self.batch_size)
        ]

    def write(self, job: Job, batch: list[Chunk], chunks: int, merged: MergedTensor | None, progress: Progress) -> None:
        """Merge and write a batch of a tensor that has so many chunks."""
        # A tensor that is already merged takes no core.
        with nullcontext() if merged else self.cores:
            weights = self.merger.merge_batch(job, batch, chunks, merged)
        job.write(weights, batch[0].start * job.dtype.itemsize)
        progress(weights.size)

    # ---- passes

    def run_passes(self, jobs: Sequence[Job], first: Pass | None) -> MergedTensor | None:
        """Run all passes over these jobs' tensors; return the tensor if the last one merged it."""
        current, finished, merged = first, None, None
        while current:
            merged = self.memory_for(jobs, current)
            scans = self.scan_sample(jobs, current) if current.windows else self.scan_all(jobs, current, merged)
            with self.cores:
                finished, current = current, current.finish(scans)
        if merged:
            with self.cores:
                self.merger.merge_undecided(jobs[0], finished, merged, self.chunks(jobs[0]))
        return merged

    def memory_for(self, jobs: Sequence[Job], current: Pass) -> MergedTensor | None:
        """Memory for a tensor that this pass can merge, if it is the only one and not too large."""
        can_merge = isinstance(current, MergingPass) and current.can_merge and len(jobs) == 1
        return self.merger.new_tensor(jobs[0], self.max_in_memory) if can_merge else None

    def scan_all(self, jobs: Sequence[Job], current: Pass, merged: MergedTensor | None) -> list[Any]:
        """What a pass finds in each chunk of the tensors, in their order."""
        found = [
            self.scanners.map(partial(self.scan, job, current, merged), batches_of(self.chunks(job), self.batch_size))
            for job in jobs
        ]
        return [scan for batches in found for batch in batches for scan in batch]

    def scan(self, job: Job, current: Pass, merged: MergedTensor | None, batch: list[Chunk]) -> list[Any]:
        with self.cores:
            if merged:
                return [self.merger.scan_and_merge(job, current, merged, chunk) for chunk in batch]
            return [current.scan(chunk, *self.reader.chunk(job, chunk)) for chunk in batch]

    def scan_sample(self, jobs: Sequence[Job], current: Pass) -> list[Any]:
        return [self.scanners.submit(self.scan_windows, job, current).result() for job in jobs]

    def scan_windows(self, job: Job, current: Pass) -> Any:
        """Let a pass see windows of a tensor, one at random in each of as many equal stretches."""
        with self.cores:
            windows, length = current.windows
            stretches = np.arange(windows) + np.random.default_rng(0).random(windows)
            starts = (stretches * (job.tensor.size - length) / windows).astype(int)
            base, models = self.reader.windows(job, starts.tolist(), length)
            return current.scan(Chunk(0, 0, windows * length), base, models)

    def chunks(self, job: Job) -> list[Chunk]:
        return chunks_of(job.tensor, job.preparation, self.chunk_size)
