"""What a hub has of a repository, and how it comes from there: file by file, over HTTP, each going on where it was cut off.

Not `snapshot_download`: it starts a file anew after a kill, and a shard is 5 GB. `http_get` is the part of the same library that goes on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock, build_hf_headers
from tqdm import tqdm

from langmerge.errors import UserError
from langmerge.files import write_json
from langmerge.hub.repository import Repository

TIMEOUT = 30
"""Seconds that the hub may take to answer a question."""

LOCK = ".lock"


@dataclass(frozen=True)
class Listing:
    """What the hub has of a repository at one commit, and what of that is wanted and not yet in its folder.

    Attributes:
        repository: what the run wants.
        commit: what its revision means today.
        files: sizes in bytes and hashes of those files.
    """

    repository: Repository
    commit: str
    files: list[RepoFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def here(self) -> int:
        """Bytes that an earlier download has left, or that lie in the cache under another revision's name."""
        return sum(self.bytes_of(file) for file in self.files)

    def bytes_of(self, file: RepoFile) -> int:
        part = self.source(file) or self.incomplete(file)
        return part.stat().st_size if part.is_file() else 0

    @cached_property
    def siblings(self) -> list[Path]:
        return list(self.repository.siblings(self.commit))

    def source(self, file: RepoFile) -> Path | None:
        """Where a file has been downloaded to already."""
        places = (folder / file.path for folder in [self.repository.partial, *self.siblings])
        return next((path for path in places if path.is_file()), None)

    def incomplete(self, file: RepoFile) -> Path:
        """The part of a file that has come so far; its name says of which content, for a branch may move meanwhile."""
        return self.repository.partial / f"{file.path}.{file.blob_id[:12]}.incomplete"


class Stopped(Exception):
    """The download was interrupted."""


class Progress:
    """One bar over all files, in bytes. http_get takes it for the class that makes a bar for each."""

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


def look_up(repository: Repository) -> Listing:
    """Ask the hub what there is. A folder that lacks files is completed from the commit that it was fetched at.

    Raises:
        UserError: a model without safetensors, or nothing that fits the patterns.
        HfHubHTTPError: and network errors; `explain` explains them.
    """
    api, about = HfApi(), {"repo_id": repository.hub, "repo_type": repository.kind[:-1]}
    record = repository.record or {"files": {}}
    info = api.repo_info(**about, revision=record.get("revision", repository.revision), timeout=TIMEOUT)
    if info.gated:
        try:
            api.auth_check(**about)
        except GatedRepoError:
            raise
        except HfHubHTTPError:
            pass  # a mirror may not answer this question; then the first file does
    found = [
        entry for entry in api.list_repo_tree(**about, revision=info.sha, recursive=True) if isinstance(entry, RepoFile)
    ]
    wanted = [file for file in found if repository.wants(file.path)]
    if not wanted:
        raise UserError(
            f"no file fits {[*repository.files] or 'a model'}. Mend `files:`, or the name; see {repository.page}/tree/{info.sha}."
        )
    if repository.kind == "models" and not any(file.path.endswith(".safetensors") for file in wanted):
        raise UserError(
            f"it has no safetensors at {info.sha}, and nothing else is read. Give the `revision:` of a converted one (often at "
            f"{repository.page}/discussions), or convert the model and give its folder as `path:`."
        )
    return Listing(repository, info.sha, [file for file in wanted if file.path not in record["files"]])


def fetch(listing: Listing, workers: ThreadPoolExecutor, progress: Progress) -> None:
    """Download what is missing, check it, and rename the whole into its place.

    Raises:
        UserError: a checksum is wrong.
        HfHubHTTPError, OSError: the hub does not give a file.
    """
    repository = listing.repository
    repository.partial.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(repository.partial / LOCK):
        if replace(repository).complete:
            return  # another process has fetched it while this one waited
        futures = {file.path: workers.submit(fetch_file, listing, file, progress) for file in listing.files}
        try:
            files = {name: future.result() for name, future in futures.items()}
        finally:
            for future in futures.values():
                future.cancel()
            wait(futures.values())
        publish(listing, files)


def fetch_file(listing: Listing, file: RepoFile, progress: Progress) -> dict[str, Any]:
    """Bring one file into the partial folder and return its record; what an earlier process left is checked like what came now."""
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
                # Compressed on the way, a part could not be gone on with.
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
            f"{file.path} came with a wrong checksum and was deleted. Fetch again; if that does not help, look at the network or mirror."
        )
    part.rename(final)
    return checked


def check(path: Path, file: RepoFile) -> dict[str, Any] | None:
    """The record of a file whose content is what the hub says, by the SHA-256 of a large file or the git hash of a small one; else None."""
    if path.stat().st_size != file.size:
        return None
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    right = sha256 == file.lfs.sha256 if file.lfs else git_hash(path) == file.blob_id
    return {"size": file.size, "sha256": sha256} if right else None


def git_hash(path: Path) -> str:
    """The name that git gives a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system has no links."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def publish(listing: Listing, files: dict[str, dict[str, Any]]) -> None:
    """Put a complete download into its place, with its record; add to a folder that is there already, whose files stay as they are."""
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
            path.unlink()  # the lock, and what an earlier commit had
    if repository.folder.is_dir():
        for name in files:
            (repository.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (repository.partial / name).replace(repository.folder / name)
        shutil.rmtree(repository.partial)
        write_json(repository.record_in(repository.folder), record)
    else:
        write_json(repository.record_in(repository.partial), record)
        repository.partial.rename(repository.folder)


def look_up_all(repositories: list[Repository]) -> dict[Repository, Listing | str]:
    """What the hub has of each, or why that cannot be known."""
    return at_once({repository: partial(look_up, repository) for repository in repositories})


def fetch_all(listings: list[Listing], workers: int) -> dict[Repository, str]:
    """Fetch all, `workers` files at a time; return what failed, and why."""
    progress = Progress(sum(listing.size for listing in listings))
    with ThreadPoolExecutor(workers) as threads, progress.bar:
        done = at_once(
            {listing.repository: partial(fetch, listing, threads, progress) for listing in listings},
            stop=progress.stopped.set,
        )
    return {repository: reason for repository, reason in done.items() if reason}


def at_once(
    tasks: dict[Repository, Callable[[], Any]], stop: Callable[[], None] = lambda: None
) -> dict[Repository, Any]:
    """Do something for each repository in a thread of its own; the value is what comes of it, or why it failed. Ctrl-C calls `stop`."""

    def attempt(repository: Repository, task: Callable[[], Any]) -> Any:
        try:
            return task()
        except Exception as error:
            return explain(error, repository)

    with ThreadPoolExecutor(max(1, len(tasks))) as threads:
        futures = {repository: threads.submit(attempt, repository, task) for repository, task in tasks.items()}
        try:
            return {repository: future.result() for repository, future in futures.items()}
        except BaseException:
            stop()
            raise


def explain(error: Exception, repository: Repository) -> str:
    """What went wrong with a repository, and what its user can do about it."""
    who = "You are logged in" if get_token() else "You are not logged in: `hf auth login`, or put a token into HF_TOKEN"
    match error:
        case UserError():
            return str(error)
        case GatedRepoError():
            return f"it is gated: its owners let in who asks. Ask at {repository.page}, then fetch again. {who}."
        case RevisionNotFoundError():
            return f"it has no revision {repository.revision!r}. Choose a commit of {repository.page}/commits/main and mend `revision:`."
        case RepositoryNotFoundError():
            return f"it is not there, or private. Look at {repository.page}, and mend the name in config/ or ask its owners. {who}."
        case OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set, which turns the hub off. Unset it where there is a network."
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"the hub refuses it. May your token read {repository.page}, and is it still good? {who}."
        case HfHubHTTPError():
            return (
                f"{ENDPOINT} answers with HTTP {error.response.status_code}. Fetch again later; what has come is kept."
            )
        case OSError() if error.errno:
            return f"{error.strerror}: {error.filename or repository.partial}. What has come is kept."
    return (
        f"{ENDPOINT} cannot be reached ({type(error).__name__}: {error}). Fetch where there is a network, such as a login node; HF_ENDPOINT names "
        f"a mirror. What has come is kept."
    )
