"""What a hub has of a repository, and what of that is already in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from langmerge.errors import UserError
from langmerge.hub.parallel import at_once
from langmerge.hub.repository import Repository, is_safe

TIMEOUT = 30
"""Seconds that the hub may take to describe a repository."""


@dataclass(frozen=True)
class Listing:
    """The needed files of a repository at one commit that are not yet in its folder.

    Attributes:
        repository: what the run needs.
        commit: what its revision means today.
        files: names, sizes in bytes and hashes.
    """

    repository: Repository
    commit: str
    files: list[RepoFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def present(self) -> int:
        """Bytes that are already in the cache: parts, or files under another revision's name."""
        return sum(self.bytes_of(file) for file in self.files)

    def bytes_of(self, file: RepoFile) -> int:
        part = self.source(file) or self.incomplete(file)
        return part.stat().st_size if part.is_file() else 0

    @cached_property
    def siblings(self) -> list[Path]:
        return list(self.repository.siblings(self.commit))

    def source(self, file: RepoFile) -> Path | None:
        """The path of a file that was downloaded before, or None."""
        paths = (folder / file.path for folder in [self.repository.partial, *self.siblings])
        return next((path for path in paths if path.is_file()), None)

    def incomplete(self, file: RepoFile) -> Path:
        """The part of a file that was downloaded so far.

        Its name depends on the content, because a branch may move between two downloads.
        """
        return self.repository.partial / f"{file.path}.{file.blob_id[:12]}.incomplete"


def look_up(repository: Repository) -> Listing:
    """Ask the hub for the files of a repository.

    A folder that lacks files is completed from the commit that it was fetched at.

    Raises:
        UserError: a model has no safetensors, no file matches the patterns, or a file's name or
            hash is not safe.
        HfHubHTTPError: and other network errors; `explain` explains them.
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
            pass  # a mirror may not answer this; then the first file does
    found = [
        entry for entry in api.list_repo_tree(**about, revision=info.sha, recursive=True) if isinstance(entry, RepoFile)
    ]
    wanted = [file for file in found if repository.wants(file.path)]
    # Both are parts of paths, and a hub is not trusted.
    unsafe = [file.path for file in wanted if not (is_safe(file.path) and file.blob_id.isalnum())]
    if unsafe:
        raise UserError(
            f"the name or the hash of its file {unsafe[0]!r} could lead out of its folder. Nothing of it was fetched. "
            f"Look at {repository.page}, and tell its owners."
        )
    if not wanted:
        raise UserError(
            f"no file matches {[*repository.files] or 'those of a model'}. Correct `files:` or the name; "
            f"see {repository.page}/tree/{info.sha}."
        )
    if repository.kind == "models" and not any(file.path.endswith(".safetensors") for file in wanted):
        raise UserError(
            f"it has no safetensors at {info.sha}, the only format that is read. Give the `revision:` of a converted "
            f"copy (often at {repository.page}/discussions), or convert the model and give its folder as `path:`."
        )
    return Listing(repository, info.sha, [file for file in wanted if file.path not in record["files"]])


def look_up_all(repositories: list[Repository]) -> dict[Repository, Listing | str]:
    """What the hub has of each repository, or the reason why that is not known."""
    return at_once({repository: partial(look_up, repository) for repository in repositories})
