"""Uploading a published folder. huggingface_hub does the work; a second call sends what is missing."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub import errors as hub_errors

from langmerge.errors import UserError


def files_of(folder: Path) -> dict[str, int]:
    """What would be uploaded: names with sizes in bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def upload(folder: Path, name: str, private: bool) -> str:
    """Create the repository unless it is there, and upload what it lacks.

    Returns:
        the address of its page.

    Raises:
        UserError: the hub refuses it, or cannot be reached.
    """
    api = HfApi()
    try:
        page = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Merged by langmerge")
    except (hub_errors.HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        raise UserError(explained(error, name)) from error
    return str(page)


def explained(error: Exception, name: str) -> str:
    """What went wrong, and what the user can do about it."""
    status = error.response.status_code if isinstance(error, hub_errors.HfHubHTTPError) else None
    if status in (401, 403):
        login = "Your token may not write there" if get_token() else "You are not logged in"
        return (
            f"{name}: the hub refuses it. {login}: use `hf auth login` or HF_TOKEN with a token that may write to it."
        )
    return (
        f"{name}: {constants.ENDPOINT} did not take it ({type(error).__name__}: {error}). The same command continues: what has "
        "arrived is not sent again."
    )
