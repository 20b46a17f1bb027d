"""The folder in which a Slurm job keeps its merged checkpoints, and which is removed with the job."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
from pathlib import Path

from langmerge.errors import UserError
from langmerge.slurm.queue import JOB_NAME, queued_jobs
from langmerge.slurm.site import Site

VARIABLE = "LANGMERGE_MERGES"
"""The environment variable that names the folder to workflow/rules/merge.smk."""


def enter_job(site: Site, default: Path) -> None:
    """In a Slurm job, make its folder for merged checkpoints and set LANGMERGE_MERGES to it.

    Several processes of a job parse the Snakefile, one started by the other. The first makes the
    folder, ends last, and removes it.

    Args:
        default: the parent of the folder where the site names no scratch disk.
    """
    # A training's warning before its time limit reaches all processes of its job. Those that do not
    # handle it would end.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if "SLURM_JOB_ID" in os.environ and VARIABLE not in os.environ:
        parent = expanded(site) if site.scratch else default
        os.environ[VARIABLE] = str(claim_folder(parent, os.environ["SLURM_JOB_ID"], site.path).absolute())


def expanded(site: Site) -> Path:
    """The site's scratch folder on this node, with its variables filled in.

    Raises:
        UserError: this node does not set one of them.
    """
    folder = os.path.expandvars(site.scratch)
    if "$" in folder:
        raise UserError(
            f"{site.path}: scratch: {site.scratch} names a variable that is not set in this job. "
            "Name a folder that every node has."
        )
    return Path(folder)


def claim_folder(parent: Path, job: str, site_file: Path) -> Path:
    """Make this Slurm job's own folder in `parent`; it is removed when this process ends.

    Folders of this user's jobs that have ended are removed first: a job that Slurm had to kill
    could not clean up. So is the folder of an earlier attempt of this job, if Slurm has requeued
    it.

    Args:
        job: the job's number.
        site_file: where messages say that the folder can be changed.

    Raises:
        UserError: the folder cannot be made.
    """
    folder = parent / f"{JOB_NAME}-{job}"
    jobs = queued_jobs()
    alive = None if jobs is None else {queued.number for queued in jobs}
    for other in parent.glob(f"{JOB_NAME}-*"):
        number = other.name.removeprefix(f"{JOB_NAME}-")
        if other == folder or (alive is not None and number not in alive and is_mine(other)):
            remove_folder(other)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UserError(
            f"{folder}, the job's folder for merged checkpoints, cannot be made: {error.strerror}. "
            f"Change `scratch` in {site_file}."
        ) from error
    atexit.register(remove_folder, folder)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a job's folder and the links to its models; the path of each in the folder is that of
    its link.
    """
    for parent, names, _ in os.walk(folder):
        for name in names:
            model = Path(parent, name)
            link = Path("/", model.relative_to(folder))
            if link.is_symlink() and link.readlink() == model:
                link.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def is_mine(path: Path) -> bool:
    """Whether a path is there and belongs to this user."""
    try:
        return path.lstat().st_uid == os.getuid()
    except FileNotFoundError:
        return False
