"""Jobs that a killed controller left behind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from langmerge.errors import UserError
from langmerge.slurm.queue import JOB_NAME, queued_jobs

PATIENCE = 180
"""Seconds that cancelled jobs may take to end.

Slurm kills a job that ignores the signal after KillWait, 30 s by default.
"""


def left_over(folder: Path) -> list[str]:
    """Numbers of the jobs that a controller in this folder has submitted and that have not ended."""
    jobs = queued_jobs() or []
    return [job.number for job in jobs if job.name.startswith(f"{JOB_NAME}_") and job.folder == folder]


def clear_away(folder: Path, say: Callable[[str], None]) -> bool:
    """Cancel jobs that a killed controller left, and wait for their end.

    Nobody waits for those jobs any more, and Snakemake is about to submit the same work again: both
    would run at once.

    Args:
        folder: the folder in which Snakemake runs.
        say: is given what is done, in a sentence.

    Returns:
        Whether there was anything. If so, what Snakemake knows of files is out of date.

    Raises:
        UserError: the jobs do not end.
    """
    cancelled = left_over(folder)
    # Snakemake makes two locks for each run that is under way in a folder.
    if cancelled and len(list((folder / ".snakemake" / "locks").glob("*.lock"))) > 2:
        say(
            "Another run is under way in this folder. If an earlier controller of this run was killed, "
            "its jobs are still in Slurm: see squeue."
        )
        return False
    if cancelled:
        say(f"Jobs of an earlier, killed run are still in Slurm and are cancelled: {' '.join(cancelled)}")
        subprocess.run(["scancel", *cancelled], check=False)
    deadline = time.monotonic() + PATIENCE
    while remaining := left_over(folder):
        if time.monotonic() > deadline:
            raise UserError(
                f"Jobs of an earlier, killed run do not end: {' '.join(remaining)}. "
                "See squeue; when they are gone, run the same command again."
            )
        time.sleep(1)
    return bool(cancelled)
