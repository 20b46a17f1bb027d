"""Downloading repositories: file by file, over HTTP, each resumed where it stopped.

`snapshot_download` starts a file again from its first byte after a kill, and a shard has 5 GB.
`http_get` is the part of the same library that resumes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock, build_hf_headers
from tqdm import tqdm

from langmerge.errors import UserError
from langmerge.files import write_json
from langmerge.hub.listing import Listing
from langmerge.hub.parallel import at_once
from langmerge.hub.repository import Repository

LOCK = ".langmerge.lock"


class Stopped(Exception):
    """The download was interrupted."""


class Progress:
    """One progress bar over all files, in bytes. http_get takes it for the class of a file's bar."""

    def __init__(self, total: int) -> None:
        self.bar = tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1000, desc="fetching", disable=None)
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def __call__(self, initial: int = 0, **_: Any) -> Progress:
        self.update(initial)
        return self

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        if self.stopped.is_set():
            raise Stopped
        with self.lock:
            self.bar.update(count)


def fetch(listing: Listing, workers: ThreadPoolExecutor, progress: Progress) -> None:
    """Download what is missing, check it, and rename the folder to its final name.

    Raises:
        UserError: a checksum is wrong.
        HfHubHTTPError, OSError: the hub does not deliver a file.
    """
    repository = listing.repository
    repository.partial.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(repository.partial / LOCK):
        if replace(repository).complete:
            return  # another process fetched it while this one waited
        futures = {file.path: workers.submit(fetch_file, listing, file, progress) for file in listing.files}
        try:
            files = {name: future.result() for name, future in futures.items()}
        finally:
            for future in futures.values():
                future.cancel()
            wait(futures.values())
        publish(listing, files)


def fetch_file(listing: Listing, file: RepoFile, progress: Progress) -> dict[str, Any]:
    """Bring one file into the partial folder and return its record.

    Files that an earlier process left are checked like those that are downloaded now.
    """
    final, part = listing.repository.partial / file.path, listing.incomplete(file)
    final.parent.mkdir(parents=True, exist_ok=True)
    source = listing.source(file)
    if source:
        if source != final:
            link(source, final)
        checked = check(final, file)
        if checked:
            progress.update(file.size)
            return checked
        final.unlink()
    with part.open("ab") as stream:
        if stream.tell() < file.size:
            about = {"repo_id": listing.repository.hub, "repo_type": listing.repository.kind[:-1]}
            http_get(
                hf_hub_url(filename=file.path, revision=listing.commit, **about),
                stream,
                resume_size=stream.tell(),
                # A compressed download could not be resumed.
                headers={**build_hf_headers(), "Accept-Encoding": "identity"},
                expected_size=file.size,
                tqdm_class=progress,
            )
        else:
            progress.update(file.size)
        stream.flush()
        os.fsync(stream.fileno())
    checked = check(part, file)
    if not checked:
        part.unlink()
        raise UserError(
            f"{file.path} had a wrong checksum and was deleted. Fetch again; if that does not help, check the network "
            f"or the mirror."
        )
    part.rename(final)
    return checked


def check(path: Path, file: RepoFile) -> dict[str, Any] | None:
    """The record of a file, or None if its content is not what the hub lists.

    The hub lists the SHA-256 of a large file and the git hash of a small one.
    """
    if path.stat().st_size != file.size:
        return None
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    right = sha256 == file.lfs.sha256 if file.lfs else git_hash(path) == file.blob_id
    return {"size": file.size, "sha256": sha256} if right else None


def git_hash(path: Path) -> str:
    """The hash of a file's content in git."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def publish(listing: Listing, files: dict[str, dict[str, Any]]) -> None:
    """Rename a complete download to its final name, with its record.

    If the folder exists, only the new files are added to it.
    """
    repository = listing.repository
    old = repository.record or {"files": {}}
    patterns = sorted({*repository.files, *old.get("patterns", [])}) if repository.files else []
    record = {
        "hub": repository.hub,
        "revision": listing.commit,
        "patterns": patterns,
        "files": {**old["files"], **files},
    }
    for path in [path for path in repository.partial.rglob("*") if path.is_file()]:
        if path.relative_to(repository.partial).as_posix() not in files:
            path.unlink()  # the lock, and files of an earlier commit
    if repository.folder.is_dir():
        for name in files:
            (repository.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (repository.partial / name).replace(repository.folder / name)
        shutil.rmtree(repository.partial)
        write_json(repository.record_in(repository.folder), record)
    else:
        write_json(repository.record_in(repository.partial), record)
        repository.partial.rename(repository.folder)


def fetch_all(listings: list[Listing], workers: int) -> dict[Repository, str]:
    """Fetch all, `workers` files at a time. Return the reasons of those that failed."""
    progress = Progress(sum(listing.size for listing in listings))
    with ThreadPoolExecutor(workers) as threads, progress.bar:
        reasons = at_once(
            {listing.repository: partial(fetch, listing, threads, progress) for listing in listings},
            stop=progress.stopped.set,
        )
    return {repository: reason for repository, reason in reasons.items() if reason}
