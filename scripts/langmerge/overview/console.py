"""What `langmerge run` shows while Snakemake works: what will be done, one progress display, and
one line for each failure.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from langmerge.grid.grid import Grid
from langmerge.grid.jobs import Job
from langmerge.overview.forecast import Forecast
from langmerge.overview.progress import NO_WORD, last_words

WIDTH = 180
"""Columns of a line at most."""

SHOWN = 10
"""Failures that get a line of their own."""

STEP = 0.1
"""Where there is no terminal, a line is printed each time that this share of the work is done."""

KILLED = 1.0
"""Seconds after a failure in which an interruption may turn out to be its reason."""


class Console:
    """The lines of one run.

    Attributes:
        grid: the run; None until the configuration has been read.
        failures: the jobs that have failed, with the reason of each.
        interrupted: whether the user has asked to stop.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        self.grid: Grid | None = None
        self.forecast: Forecast | None = None
        self.jobs: dict[int, Job | None] = {}
        self.names: dict[int, str] = {}
        self.running: dict[int, str] = {}
        self.failures: dict[str, str] = {}
        self.done, self.all, self.shown, self.bar = 0, 0, 0.0, ""
        self.interrupted = self.closed = self.has_bar = False
        self.lock = threading.RLock()

    # ---- what happens

    def watch(self, grid: Grid, at_once: int) -> None:
        """The configuration has been read."""
        self.grid, self.at_once = grid, at_once

    def planned(self, counts: dict[str, int]) -> None:
        """Snakemake knows its jobs: say what will be done."""
        if self.grid is None or self.forecast is not None:
            return
        self.all = counts.get("total", sum(counts.values()))
        forecast = Forecast(self.grid, self.at_once)
        for line in what_will_be_done(self.grid, forecast, counts):
            self.say(line)
        self.forecast = forecast
        if self.terminal:
            threading.Thread(target=self.tick, daemon=True).start()

    def started(self, number: int, rule: str, logs: Iterable[str]) -> None:
        job = next((self.job(log) for log in logs if self.job(log)), None)
        self.names[number] = called(rule, job)
        self.running[number] = self.names[number]
        if job and self.forecast:
            self.forecast.start(job)
        self.jobs[number] = job
        self.draw()

    def finished(self, number: int) -> None:
        self.running.pop(number, None)
        self.done += 1
        job = self.jobs.get(number)
        if job and self.forecast:
            self.forecast.end(job)
        self.draw()

    def failed(self, number: int, rule: str, logs: Iterable[str]) -> None:
        """Say why, unless it was the user who stopped it."""
        self.running.pop(number, None)
        limit = time.monotonic() + KILLED
        while not self.interrupted and time.monotonic() < limit:
            time.sleep(0.05)
        if self.interrupted:
            return
        name = self.names.get(number, rule)
        paths = [Path(log) for log in logs if Path(log).is_file()]
        reason = last_words(paths[0]) if paths else NO_WORD
        where = f" ({paths[0]})" if paths else ""
        is_new = name not in self.failures
        self.failures[name] = reason
        if is_new and len(self.failures) <= SHOWN:
            self.say(textwrap.shorten(f"failed: {name}: {reason}", WIDTH - len(where), placeholder=" ...") + where)

    def message(self, text: str) -> None:
        """A warning or an error of Snakemake's."""
        if not self.interrupted:
            for line in text.strip().splitlines()[:SHOWN]:
                self.say(textwrap.shorten(line, WIDTH, placeholder=" ..."))

    # ---- what is shown

    def job(self, log: str) -> Job | None:
        return self.forecast.by_log.get(str(log)) if self.forecast else None

    def say(self, line: str) -> None:
        with self.lock:
            self.stream.write(f"{self.erased()}{line}\n")
            self.stream.flush()
        self.draw()

    def erased(self) -> str:
        had, self.has_bar = self.has_bar, False
        return "\r\x1b[K" if had else ""

    def draw(self) -> None:
        """The progress display: the last line of a terminal, elsewhere a line now and then."""
        if self.forecast is None or self.closed or not self.all:
            return
        with self.lock:
            # New durations change what a share is; a display that runs backwards explains nothing.
            share = max(self.forecast.share(), self.shown)
            if self.terminal:
                text = self.status(share)[: max(20, shutil.get_terminal_size().columns - 1)]
                if not self.has_bar or text != self.bar:
                    self.stream.write(f"\r\x1b[K{text}")
                self.bar, self.has_bar, self.shown = text, True, share
            elif share >= self.shown + STEP:
                self.stream.write(f"{self.status(share)[:WIDTH]}\n")
                self.shown = share
            self.stream.flush()

    def status(self, share: float) -> str:
        """34% of the work, 41 of 152 jobs, about 6 min left; now: training mini/base, ..."""
        left = self.forecast.left() if self.forecast else None
        rest = "time left not known yet" if left is None else f"about {duration(left)} left"
        failed = f", {len(self.failures)} failed" if self.failures else ""
        now = ", ".join([*self.running.values()])
        return (
            f"{share:4.0%} of the work, {self.done} of {self.all} jobs{failed}, {rest}{f'; now: {now}' if now else ''}"
        )

    def tick(self) -> None:
        while not self.closed:
            self.draw()
            time.sleep(1)

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.stream.write(self.erased())
            self.stream.flush()


def what_will_be_done(grid: Grid, forecast: Forecast, counts: dict[str, int]) -> list[str]:
    """Ten lines at most: jobs by stage and backbone with their hours, gigabytes, the time."""
    kinds = Counter((job.rule, job.backbone) for job in forecast.pending if job.backbone)
    seconds = forecast.expected
    lines = [f"{grid.layout.root}: {counts.get('total', sum(counts.values()))} jobs"]
    for (rule, backbone), number in [*kinds.items()][:6]:
        own = [seconds[job] for job in forecast.pending if (job.rule, job.backbone) == (rule, backbone)]
        known = [each for each in own if each is not None]
        hours = f"{duration(sum(known))} of work" if len(known) == len(own) else "of unknown length"
        lines.append(f"  {rule:<10} {backbone}: {number}, {hours}")
    rest = sum(count for rule, count in counts.items() if rule not in ("total", "all")) - sum([*kinds.values()][:6])
    lines.append(f"  and {rest} more: downloads, data, tables and figures")
    disk = forecast.plan.disk
    if disk["written"] >= 0.05:
        lines.append(
            f"  disk: {disk['written']:.1f} GB will be written, at most {disk['peak']:.1f} GB are there at once"
        )
    left = forecast.left()
    lines.append(f"  time: {'known when the first jobs have ended' if left is None else f'about {duration(left)}'}")
    return lines


def called(rule: str, job: Job | None) -> str:
    """What a line calls a job: train mini/adapted/eu/w1."""
    if job and len(job.results) > 1:
        return f"{rule} {job.backbone}, {len(job.results)} results"
    return f"{rule} {job.model.id if job.model else job.name}".strip() if job else rule


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
