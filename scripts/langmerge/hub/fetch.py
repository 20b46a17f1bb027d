"""Fetching repositories: `snapshot_download` does the work. Ours: which files, at which
commit, how many bytes; names and checksums, which are not trusted; why something cannot be had.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace

from huggingface_hub import HfApi, constants, get_token, snapshot_download
from huggingface_hub import errors as hub_errors
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock, filter_repo_objects

from langmerge.errors import UserError
from langmerge.files import glob_escape, link_or_copy, sha256, write_json
from langmerge.hub.repository import Repository, read_record

Listing = tuple[str, dict[str, RepoFile]]
"""A commit, and its needed files that are not in the folder yet, by name."""

LONGEST = 240
"""Bytes of a part of a name. File systems take 255, and huggingface_hub adds some."""


def look_up(repository: Repository) -> Listing:
    """Ask the hub what a repository has, at its revision or at the commit of a folder that lacks
    files.
    """
    api, about = HfApi(), {"repo_id": repository.hub, "repo_type": repository.kind[:-1]}
    record = repository.record or {"files": {}}
    info = api.repo_info(**about, revision=record.get("revision", repository.revision), timeout=30)
    if info.gated:
        api.auth_check(**about)
    found = [
        each for each in api.list_repo_tree(**about, revision=info.sha, recursive=True) if isinstance(each, RepoFile)
    ]
    files = {file.path: file for file in filter_repo_objects(found, **repository.patterns, key=lambda file: file.path)}
    if unsafe := [name for name in [info.sha, *files] if not is_safe(name)]:
        raise UserError(
            f"the name {unsafe[0][:200]!r} could lead out of its folder. Nothing of it was fetched. Look at {repository.page}."
        )
    if not files or (repository.kind == "models" and not any(name.endswith(".safetensors") for name in files)):
        wanted = ", ".join(repository.files) or "*.safetensors, the only format that is read"
        raise UserError(
            f"it has no {wanted} at {info.sha}. Correct `files:`, or give the `revision:` of a copy in that format, often at "
            f"{repository.page}/discussions."
        )
    return info.sha, {name: file for name, file in files.items() if name not in record["files"]}


def is_safe(name: str) -> bool:
    """Whether a hub's name can be a path in a folder, on any system, and be printed."""
    parts = name.split("/")
    return not (
        {"", ".", ".."} & {*parts}
        or re.search(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]|^[A-Za-z]:", name)
        or any(len(part.encode("utf-8", "replace")) > LONGEST for part in parts)
    )


def fetch(repository: Repository, listing: Listing, workers: int) -> None:
    """Download what is missing, check it, and rename the folder to its final name, with its record.

    Raises:
        UserError: a checksum is wrong. HfHubHTTPError, OSError: the hub does not deliver a file.
    """
    (commit, files), partial = listing, repository.partial
    about = {"repo_id": repository.hub, "repo_type": repository.kind[:-1], "revision": commit}
    same = f"{glob_escape(repository.folder.name.rpartition('@')[0])}@*"
    linked: set[str] = set()
    for folder in [] if partial.exists() else repository.folder.parent.glob(same):
        # The same commit under another name, such as main: its files get a second name.
        if (record := read_record(folder / repository.record_name)) and record["revision"] == commit:
            shutil.copytree(folder, partial, copy_function=link_or_copy, dirs_exist_ok=True)
            linked |= {*record["files"]}
    partial.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(partial / ".lock"):
        if replace(repository).complete:
            return  # another process fetched it while this one waited
        for part in [*partial.rglob("*.incomplete")]:  # huggingface_hub begins a file again, under another name
            part.unlink()
        if patterns := [glob_escape(name) for name in files if name not in linked]:
            snapshot_download(**about, local_dir=partial, allow_patterns=patterns, max_workers=workers)
        wrong = {mismatch["path"] for mismatch in HfApi().verify_repo_checksums(**about, local_dir=partial).mismatches}
        for name in sorted(wrong & {*files}):
            (partial / name).unlink()
            raise UserError(
                f"{name} had a wrong checksum and was deleted. Fetch again, or check the network or the mirror."
            )
        publish(repository, commit, [*files])


def publish(repository: Repository, commit: str, names: list[str]) -> None:
    """Rename a complete download to its final name; add its files to the folder that is there."""
    old = repository.record or {"files": {}, "patterns": []}
    sizes = {name: (repository.partial / name).stat().st_size for name in names}
    own = {name: {"size": size, "sha256": sha256(repository.partial / name)} for name, size in sizes.items()}
    patterns = sorted({*repository.files, *old["patterns"]}) if repository.files else []
    record = {"hub": repository.hub, "revision": commit, "patterns": patterns, "files": {**old["files"], **own}}
    for path in [path for path in repository.partial.rglob("*") if path.is_file()]:
        if path.relative_to(repository.partial).as_posix() not in own:
            path.unlink()  # the lock, huggingface_hub's notes, and files of an earlier commit
    shutil.rmtree(repository.partial / ".cache", ignore_errors=True)
    if repository.folder.is_dir():
        shutil.copytree(repository.partial, repository.folder, copy_function=os.replace, dirs_exist_ok=True)
        shutil.rmtree(repository.partial)
        write_json(repository.folder / repository.record_name, record)
    else:
        write_json(repository.partial / repository.record_name, record)
        repository.partial.rename(repository.folder)


def explain(error: Exception, repository: Repository) -> str:
    """What went wrong with a repository, and what the user can do about it."""
    login = "You are logged in" if get_token() else "You are not logged in: use `hf auth login` or HF_TOKEN"
    match error:
        case UserError():
            return str(error)
        case hub_errors.GatedRepoError():
            return f"it is gated. Request access at {repository.page}, then fetch again. {login}."
        case hub_errors.RevisionNotFoundError():
            return f"it has no revision {repository.revision!r}. Give a commit of {repository.page}/commits/main as `revision:`."
        case hub_errors.RepositoryNotFoundError():
            return f"it does not exist or is private. Look at {repository.page}, and correct the name or ask for access. {login}."
        case hub_errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"the hub refuses it. Check that your token is valid and may read {repository.page}. {login}."
        case OSError() if error.errno:
            return (
                f"{error.strerror}: {error.filename or repository.partial}. Fetch again; what was downloaded is kept."
            )
    return (
        f"{constants.ENDPOINT} cannot be reached, or does not answer as it should ({type(error).__name__}: {error}). Fetch where there is a network, such as "
        "on a login node, or name a mirror in HF_ENDPOINT; what was downloaded is kept."
    )
