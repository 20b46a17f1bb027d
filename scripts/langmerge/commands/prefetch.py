"""Fetch every model and data set of a run from the hub into its cache; what comes after works without a network.

    python scripts/prefetch.py config/paper.yaml --dry-run     # names, revisions and sizes
    python scripts/prefetch.py config/paper.yaml

A killed download goes on where it was, to the byte. Every file is checked against the hub's checksum; a folder appears in the cache when all
its files are there, and is never fetched again. What cannot be fetched is named at the end and does not stop the rest.

Gated models: ask on their page, then log in with `hf auth login` or HF_TOKEN. HF_ENDPOINT names a mirror.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

# The one command that wants the hub, which the evaluation package, of which the grid uses a part, turns off unless it is told otherwise.
os.environ.setdefault("HF_HUB_OFFLINE", "0")
from tabulate import tabulate

from langmerge.errors import UserError
from langmerge.files import write_json
from langmerge.grid.grid import read_run
from langmerge.hub.repository import Repository

GB = 1e9

SHOWN = 3
"""How many repositories are named that fail for the same reason."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="the run: its configuration, a YAML file or YAML text")
    parser.add_argument(
        "--config",
        type=Path,
        default="config",
        help="the folder with languages/, backbones/ and benchmarks.yaml (default: config)",
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="fetch only what belongs into this folder of the cache"
    )
    parser.add_argument(
        "--workers", type=int, default=8, metavar="N", help="how many files are downloaded at once (default: 8)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be fetched, and how much it is")


def run(options: argparse.Namespace) -> None:
    if options.workers < 1:
        raise UserError(f"--workers {options.workers}: expected a number above 0.")
    grid = read_run(options.run, options.config)
    repositories = [
        Repository.of(entry) for entry in grid.repositories if options.folder in (None, Path(entry["folder"]))
    ]
    # Imported late: it takes a second, and a mistake in the configuration should not.
    from langmerge.hub.download import Listing, fetch_all, look_up_all

    found = look_up_all([repository for repository in repositories if not repository.complete])
    listings = [answer for answer in found.values() if isinstance(answer, Listing)]
    failures = {repository: answer for repository, answer in found.items() if isinstance(answer, str)}
    missing = sum(listing.size - listing.here for listing in listings)
    free = free_bytes(Path(grid.config["cache"]))
    if options.dry_run:
        print(table(repositories, found))
        print(f"\nTo fetch into {grid.config['cache']}: {total(repositories, found)}; free there: {free / GB:.1f} GB.")
        print(complaint(failures), file=sys.stderr, end="")
        return
    if missing > free:
        raise UserError(
            f"{missing / GB:.1f} GB are to be fetched into {grid.config['cache']}, where {free / GB:.1f} GB are free. Make room, or name another `cache`."
        )
    failures |= fetch_all(listings, options.workers)
    repositories = [Repository.of(entry) for entry in grid.repositories]
    if not options.folder:
        write_json(grid.root / "manifest.json", manifest(repositories))
    print(
        f"{sum(repository.complete for repository in repositories)} of {len(repositories)} repositories are in {grid.config['cache']}."
    )
    print(pins(repositories), end="")
    if failures:
        raise UserError(complaint(failures).rstrip())


def table(repositories: list[Repository], found: dict) -> str:
    """A row a repository: its size as the hub says it, or with ~ as the configuration does, and what of it is here."""
    rows = []
    for repository in repositories:
        answer = found.get(repository)
        if answer is None:
            size, state = f"{size_of(repository) / GB:.2f}", "here"
        elif isinstance(answer, str):
            size, state = f"~{repository.gb:.2f}" if repository.gb else "?", "the hub does not say"
        else:
            size, state = (
                f"{answer.size / GB:.2f}",
                f"{answer.here / GB:.2f} GB are here" if answer.here else "to fetch",
            )
        rows.append([repository.kind, repository.hub, repository.revision, size, state])
    return tabulate(
        rows,
        headers=["kind", "repository", "revision", "GB", ""],
        colalign=["left", "left", "left", "right", "left"],
        disable_numparse=True,
    )


def total(repositories: list[Repository], found: dict) -> str:
    """How much is still to come, in words."""
    known = sum(answer.size - answer.here for answer in found.values() if not isinstance(answer, str)) / GB
    guessed = [repository.gb for repository, answer in found.items() if isinstance(answer, str)]
    unknown = guessed.count(None)
    return f"{'~' if any(guessed) else ''}{known + sum(filter(None, guessed)):.1f} GB" + (
        f", and {unknown} repositories of unknown size" if unknown else ""
    )


def size_of(repository: Repository) -> int:
    """Bytes of a folder of the cache."""
    if repository.record:
        return sum(file["size"] for file in repository.record["files"].values())
    return sum(path.stat().st_size for path in repository.folder.rglob("*") if path.is_file())


def free_bytes(folder: Path) -> int:
    """Free space where a folder is, or will be."""
    return shutil.disk_usage(next(place for place in [folder, *folder.absolute().parents] if place.exists())).free


def manifest(repositories: list[Repository]) -> list[dict]:
    """What has been fetched: each repository with the commit that its revision meant, and its files with sizes and hashes."""
    return [
        {"kind": repository.kind, "folder": str(repository.folder), "wanted": repository.revision, **repository.record}
        for repository in repositories
        if repository.record
    ]


def pins(repositories: list[Repository]) -> str:
    """The commits of repositories that the configuration gives no revision for, to be pasted there."""
    lines = [
        f"  {each.hub}: {each.record['revision']}\n" for each in repositories if each.revision == "main" and each.record
    ]
    return (
        "".join(["To pin what was fetched, write `revision:` behind these names in config/:\n", *lines])
        if lines
        else ""
    )


def complaint(failures: dict[Repository, str]) -> str:
    """What could not be fetched and why; those with the same reason in one line."""
    reasons: dict[str, list[str]] = {}
    for repository, reason in failures.items():
        reasons.setdefault(reason, []).append(f"{repository.hub} ({repository.kind})")
    lines = [
        f"  {', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}: {reason}\n"
        for reason, names in reasons.items()
    ]
    return "".join([f"{len(failures)} repositories cannot be fetched:\n", *lines]) if failures else ""
