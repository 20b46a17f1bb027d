"""This user's jobs in Slurm's queue."""

from __future__ import annotations

import getpass
import subprocess
from dataclasses import dataclass
from pathlib import Path

JOB_NAME = "langmerge"
"""How the names of our jobs in Slurm begin (`slurm-jobname-prefix` of slurm/config.yaml), and of
their folders.
"""


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits or runs.

    Attributes:
        number: its id in Slurm.
        name: as `sbatch --job-name` gave it.
        folder: its working directory.
    """

    number: str
    name: str
    folder: Path


def queued_jobs() -> list[QueuedJob] | None:
    """This user's jobs that wait or run; None if Slurm does not answer."""
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%j|%Z"]
    try:
        answer = subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    # The folder may hold the separator. A name may too, but not that of a job of ours.
    lines = [line.split("|", 2) for line in answer.stdout.splitlines()]
    return [QueuedJob(fields[0], fields[1], Path(fields[2])) for fields in lines if len(fields) == 3]
