"""Tasks of several repositories at the same time, and why one failed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from huggingface_hub import constants, get_token
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from langmerge.errors import UserError
from langmerge.hub.repository import Repository

KEPT = "what was downloaded is kept"


def at_once(
    tasks: dict[Repository, Callable[[], Any]], stop: Callable[[], None] = lambda: None
) -> dict[Repository, Any]:
    """Run each repository's task in a thread of its own. Return its result, or why it failed.

    Ctrl-C and SIGTERM call `stop`.
    """

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
    """What went wrong with a repository, and what the user can do about it."""
    login = "You are logged in" if get_token() else "You are not logged in: use `hf auth login` or HF_TOKEN"
    match error:
        case UserError():
            return str(error)
        case GatedRepoError():
            return f"it is gated. Request access at {repository.page}, then fetch again. {login}."
        case RevisionNotFoundError():
            return (
                f"it has no revision {repository.revision!r}. Give a commit of {repository.page}/commits/main "
                f"as `revision:`."
            )
        case RepositoryNotFoundError():
            return (
                f"it does not exist or is private. Look at {repository.page}, and correct the name in config/ or ask its "
                f"owners for access. {login}."
            )
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"the hub refuses it. Check that your token is valid and may read {repository.page}. {login}."
        case HfHubHTTPError():
            return f"{constants.ENDPOINT} answers with HTTP {error.response.status_code}. Fetch again later; {KEPT}."
        case OSError() if error.errno:
            return f"{error.strerror}: {error.filename or repository.partial}. Fetch again; {KEPT}."
    return (
        f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}: {error}). Fetch where there is a network, "
        f"such as on a login node, or name a mirror in HF_ENDPOINT; {KEPT}."
    )
