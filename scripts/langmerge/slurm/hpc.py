"""Slurm: what a site asks for, the folder that a job keeps merged checkpoints in, and what a killed controller left behind.

For rules/slurm.smk; no torch here, since every Slurm job imports it.
"""

from __future__ import annotations

import atexit
import getpass
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.grid.grid import read_yaml, validate

SITE = {
    "partition": "slurm_partition",
    "qos": "qos",
    "constraint": "constraint",
    "options": "slurm_extra",
    "type": "gpu_model",
}
"""Keys of slurm/site.yaml under `cpu` and `gpu`, and what Snakemake's Slurm plugin calls them."""

JOB_NAME = "langmerge"
"""How the names of our jobs in Slurm begin (`slurm-jobname-prefix` of slurm/config.yaml), and those of their folders."""

FOLDER = "LANGMERGE_MERGES"

PATIENCE = 180
"""Seconds that cancelled jobs may take to end: Slurm kills what does not go by itself after KillWait, 30 s by default."""


def read_site(path: Path) -> dict[str, Any]:
    """The content of slurm/site.yaml, where there is one.

    Raises:
        UserError: it is not YAML, or has a key or a value that it should not have.
    """
    content = read_yaml(path) if path.is_file() else None
    try:
        validate(content, "site", str(path))
    except UserError as error:
        raise UserError(str(error).replace("config/README.md", "slurm/site.yaml.template")) from None
    return content or {}


def requests(site: dict[str, Any], gpus: int) -> dict[str, str]:
    """What the site asks of a job with so many GPUs, as resources of Snakemake's Slurm plugin."""
    kind = site.get("gpu" if gpus else "cpu") or {}
    found = {resource: kind[key] for key, resource in SITE.items() if key in kind}
    if "account" in site:
        found["slurm_account"] = site["account"]
    if gpus and "gres" in kind:
        found["gres"] = f"{kind['gres']}:{gpus}"
    return found


def check_site(site: dict[str, Any], counts: Iterable[int]) -> None:
    """Ask Slurm whether it knows the account, the partitions and so on, for jobs with so many GPUs each, before any is submitted.

    The plugin would find some of it out for each job again; and where it raises an exception over a group job, nobody hears of it, and
    Snakemake waits for ever.

    Raises:
        UserError: it does not know one, or an option is not for the site's file to set.
    """
    # The plugin asks scontrol at its import.
    from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options

    for gpus in sorted(set(counts)):
        asked = requests(site, gpus)
        kind = "gpu" if gpus else "cpu"
        for pattern, option in get_forbidden_slurm_options().items():
            if re.search(pattern, asked.get("slurm_extra", "")):
                raise UserError(
                    f"slurm/site.yaml: {kind}.options: {asked['slurm_extra']!r} sets the {option}. It has a key of its own in "
                    "slurm/site.yaml.template, or follows from the backbone's `resources`."
                )
        command = ["sbatch", "--test-only", *sbatch_options(asked, gpus), "--wrap=true"]
        answer = subprocess.run(command, capture_output=True, text=True)
        # It may have other reasons to refuse, that go by: nodes that are down for maintenance.
        if answer.returncode != 0 and re.search("[Ii]nvalid|node configuration is not available", answer.stderr):
            raise UserError(
                f"slurm/site.yaml: Slurm refuses {' '.join(command[2:-1])}: {answer.stderr.strip()}. Mend `account` or `{kind}` there."
            )


def sbatch_options(asked: dict[str, str], gpus: int) -> list[str]:
    """As the plugin writes them."""
    names = {
        "slurm_account": "account",
        "slurm_partition": "partition",
        "qos": "qos",
        "constraint": "constraint",
        "gres": "gres",
    }
    options = [f"--{option}={asked[resource]}" for resource, option in names.items() if resource in asked]
    if gpus and "gres" not in asked:
        options.append(f"--gpus={asked['gpu_model']}:{gpus}" if "gpu_model" in asked else f"--gpus={gpus}")
    return [*options, *shlex.split(asked.get("slurm_extra", ""))]


def enter_job(place: str) -> None:
    """In a Slurm job, make its folder for merged checkpoints and name it to rules/merge.smk, as LANGMERGE_MERGES.

    Several processes of a job parse the Snakefile, one started by the other: the first makes the folder, ends last, and removes it.
    """
    if "SLURM_JOB_ID" in os.environ and FOLDER not in os.environ:
        os.environ[FOLDER] = str(claim_folder(place, os.environ["SLURM_JOB_ID"]).absolute())


def claim_folder(place: str, job: str) -> Path:
    """Make this Slurm job's own folder below `place`; it is removed when this process ends.

    What stands there from jobs that are no more is removed: one that Slurm had to kill could not tidy up. So is what an
    earlier attempt of this very job left, if Slurm has requeued it.

    Args:
        place: a folder; variables of the job's environment are filled in.
        job: the job's number.

    Raises:
        UserError: a variable is not set on this node, or the folder cannot be made.
    """
    parent = Path(os.path.expandvars(place))
    if "$" in str(parent):
        raise UserError(
            f"slurm/site.yaml: scratch: {place} names a variable that is not set in this job. Name a folder that is on every node."
        )
    folder = parent / f"{JOB_NAME}-{job}"
    alive = jobs_of_user()
    for other in parent.glob(f"{JOB_NAME}-*"):
        if other == folder or (
            alive is not None and other.name.removeprefix(f"{JOB_NAME}-") not in alive and is_mine(other)
        ):
            remove_folder(other)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UserError(
            f"{folder}, for merged checkpoints, cannot be made: {error.strerror}. See scratch in slurm/site.yaml."
        ) from error
    atexit.register(remove_folder, folder)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a job's folder, and the links to its models: below the folder, each has the path that it is linked from."""
    for place, names, _ in os.walk(folder):
        for name in names:
            model = Path(place, name)
            link = Path("/", model.relative_to(folder))
            if link.is_symlink() and link.readlink() == model:
                link.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def is_mine(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


def jobs_of_user() -> dict[str, tuple[str, str]] | None:
    """This user's jobs that wait or run: number -> (name, working directory); None if Slurm does not answer."""
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%j|%Z"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    return {
        number: (name, folder) for number, name, folder in (line.split("|", 2) for line in answer.stdout.splitlines())
    }


def left_over(folder: Path) -> list[str]:
    """Numbers of the jobs that a controller of this project folder has submitted and that have not ended."""
    jobs = jobs_of_user() or {}
    return [
        number for number, (name, place) in jobs.items() if name.startswith(f"{JOB_NAME}_") and Path(place) == folder
    ]


def clear_away(folder: Path, merges: Iterable[str], say: Callable[[str], None]) -> bool:
    """Cancel what a killed controller left in Slurm, wait until it has ended, and remove the links to checkpoints of such jobs.

    Nobody waits for those jobs any more, and Snakemake is about to submit the same work again: both would run beside each other. And a
    checkpoint that is there now goes with its job, so that an evaluation which starts with it comes too late.

    Args:
        folder: the project's.
        merges: where the run's merged checkpoints may be.

    Returns:
        Whether there was anything, so that what Snakemake knows about files is out of date.

    Raises:
        UserError: the jobs do not end.
    """
    cancelled = left_over(folder)
    # Snakemake makes two for each run that is under way in a folder.
    if cancelled and len(list((folder / ".snakemake" / "locks").glob("*.lock"))) > 2:
        say(
            "Another run is under way in this folder; if this one was killed before, its jobs are still in Slurm: see squeue."
        )
        return False
    if cancelled:
        say(f"Jobs of an earlier, killed run are still in Slurm and are cancelled: {' '.join(cancelled)}")
        subprocess.run(["scancel", *cancelled], check=False)
    deadline = time.monotonic() + PATIENCE
    while remaining := left_over(folder):
        if time.monotonic() > deadline:
            raise UserError(
                f"jobs of an earlier, killed run do not end: {' '.join(remaining)}. See squeue; then run the same again."
            )
        time.sleep(1)
    links = [path for path in map(Path, merges) if path.is_symlink()]
    for path in links:
        path.unlink(missing_ok=True)
    return bool(cancelled or links)
