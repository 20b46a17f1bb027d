"""Fetch every model and data set of a run from the hub into its cache.

    langmerge prefetch config/paper.yaml --dry-run     # names, revisions and sizes
    langmerge prefetch config/paper.yaml

All later steps work without a network. A killed download keeps the files that are complete, and
begins the others again. Every file is checked against the hub's checksum. A folder appears in the
cache when all its files are there, and is never fetched again. What cannot be fetched is listed at
the end and does not stop the rest.

For a gated model, request access on its page, then log in with `hf auth login` or HF_TOKEN.
HF_ENDPOINT names a mirror. HF_HUB_OFFLINE is ignored, because this command needs the hub.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from langmerge.errors import UserError
from langmerge.files import write_json
from langmerge.grid.grid import read_run
from langmerge.hub.repository import Repository
from langmerge.yamls import is_yaml_text

if TYPE_CHECKING:
    from langmerge.hub.fetch import Listing

GB = 1e9

LOOK_UPS = 16
"""Repositories that the hub is asked about at the same time."""

SHOWN = 3
"""Repositories that are named of those that fail for the same reason."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run's configuration: a YAML file or YAML text")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="fetch only the repository of this folder of the cache"
    )
    parser.add_argument(
        "--workers", type=int, default=8, metavar="N", help="files downloaded at the same time (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be fetched, and its size")


def run(options: argparse.Namespace) -> None:
    if options.workers < 1:
        raise UserError(f"--workers {options.workers}: expected a number above 0.")
    grid = read_run(options.run)
    repositories = [
        Repository.of(entry) for entry in grid.repositories if options.folder in (None, Path(entry["folder"]))
    ]
    if options.folder and not repositories:
        raise UserError(f"--folder {options.folder}: no repository of this run belongs there; see --dry-run.")

    # Imported late: it takes a second, and a mistake in the configuration should not.
    os.environ["HF_HUB_OFFLINE"] = "0"
    from huggingface_hub.utils import disable_progress_bars

    from langmerge.hub.fetch import explain, fetch, look_up

    if not sys.stderr.isatty():
        disable_progress_bars()

    def attempt(work: Callable[..., Any], repository: Repository, *more: Any) -> Any:
        try:
            return work(repository, *more)
        except Exception as error:
            return explain(error, repository)

    wanted = [repository for repository in repositories if not repository.complete]
    with ThreadPoolExecutor(LOOK_UPS) as threads:
        answers = dict(zip(wanted, threads.map(partial(attempt, look_up), wanted), strict=True))
    listings = {repository: answer for repository, answer in answers.items() if not isinstance(answer, str)}
    failures = {repository: answer for repository, answer in answers.items() if isinstance(answer, str)}
    missing = sum(to_fetch(repository, answer) for repository, answer in listings.items())
    cache = grid.config["cache"]
    free = free_bytes(Path(cache))
    if options.dry_run:
        print(table(repositories, answers))
        print(f"\nTo fetch into {cache}: {total(answers)}; free there: {free / GB:.1f} GB.")
        print(complaint(failures), file=sys.stderr, end="")
        return
    if missing > free:
        raise UserError(
            f"{missing / GB:.1f} GB are to be fetched into {cache}, where {free / GB:.1f} GB are free. "
            "Make room, or give another `cache`."
        )
    with stopping_at_once():
        for repository, listing in listings.items():
            if reason := attempt(fetch, repository, listing, options.workers):
                failures[repository] = reason
    repositories = [Repository.of(entry) for entry in grid.repositories]
    if not options.folder:
        write_json(grid.layout.manifest, manifest(repositories))
    complete = sum(repository.complete for repository in repositories)
    print(f"{complete} of {count(len(repositories))} in {cache}.")
    print(pins(repositories, options.run), end="")
    if failures:
        raise UserError(complaint(failures).rstrip())


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """End at Ctrl-C and SIGTERM without waiting for the files that are being downloaded."""

    def stop(number: int, _frame: FrameType | None) -> None:
        os.write(2, b"\nerror: interrupted. Complete files are kept; the same command continues.\n")
        os._exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def to_fetch(repository: Repository, listing: Listing) -> int:
    """Bytes of the listed files that an earlier download has not left already."""
    return sum(file.size for name, file in listing[1].items() if not (repository.partial / name).is_file())


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table(repositories: list[Repository], answers: Mapping[Repository, Listing | str]) -> str:
    """One row per repository: its size, and how much of it is in the cache.

    The size is the hub's or, with ~, the configuration's.
    """
    rows = []
    for repository in repositories:
        answer = answers.get(repository)
        if answer is None:
            size, state = f"{size_of(repository) / GB:.2f}", "in the cache"
        elif isinstance(answer, str):
            size, state = f"~{repository.gb:.2f}" if repository.gb else "?", "unknown to the hub"
        else:
            size = f"{sum(file.size for file in answer[1].values()) / GB:.2f}"
            present = sum(file.size for file in answer[1].values()) - to_fetch(repository, answer)
            state = f"{present / GB:.2f} GB in the cache" if present else "to fetch"
        rows.append([repository.kind, repository.hub, repository.revision, size, state])
    return tabulate(
        rows,
        headers=["kind", "repository", "revision", "GB", "state"],
        colalign=["left", "left", "left", "right", "left"],
        disable_numparse=True,
    )


def total(answers: Mapping[Repository, Listing | str]) -> str:
    """How much is to be fetched, in words."""
    listed = {repository: answer for repository, answer in answers.items() if not isinstance(answer, str)}
    known = sum(to_fetch(repository, answer) for repository, answer in listed.items()) / GB
    estimates = [repository.gb for repository, answer in answers.items() if isinstance(answer, str)]
    unknown = estimates.count(None)
    return f"{'~' if any(estimates) else ''}{known + sum(filter(None, estimates)):.1f} GB" + (
        f", and {count(unknown)} of unknown size" if unknown else ""
    )


def count(number: int) -> str:
    return f"{number} {'repository' if number == 1 else 'repositories'}"


def size_of(repository: Repository) -> int:
    """Bytes of a folder of the cache."""
    if repository.record:
        return sum(file["size"] for file in repository.record["files"].values())
    return bytes_in(repository.folder)


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk that a folder is on, or will be."""
    return shutil.disk_usage(next(path for path in [folder, *folder.absolute().parents] if path.exists())).free


def manifest(repositories: list[Repository]) -> list[dict]:
    """What was fetched: each repository with its commit, and its files with sizes and hashes."""
    return [
        {"kind": repository.kind, "folder": str(repository.folder), "wanted": repository.revision, **repository.record}
        for repository in repositories
        if repository.record
    ]


def pins(repositories: list[Repository], run: str) -> str:
    """What to do about repositories without a revision, with their commits."""
    lines = [
        f"  {repository.hub}: {repository.record['revision']}\n"
        for repository in repositories
        if repository.revision == "main" and repository.record
    ]
    if not lines:
        return ""
    command = f"langmerge pin{'' if is_yaml_text(run) else f' {run}'}"
    return "".join([f"These have no revision. `{command}` writes their commits into the files of config/:\n", *lines])


def complaint(failures: Mapping[Repository, str]) -> str:
    """What could not be fetched and why, with one line per reason."""
    if not failures:
        return ""
    reasons: dict[str, list[str]] = {}
    for repository, reason in failures.items():
        reasons.setdefault(reason, []).append(f"{repository.hub} ({repository.kind})")
    lines = [
        f"  {', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}: {reason}\n"
        for reason, names in reasons.items()
    ]
    return "".join([f"{count(len(failures))} cannot be fetched:\n", *lines])
