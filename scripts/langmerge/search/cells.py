"""What is said of the cells of a search that has ended."""

from __future__ import annotations

from typing import Any

from langmerge.reporting.differences import Difference
from langmerge.search.criterion import Criterion
from langmerge.search.race import Outcome, Trial
from langmerge.searched import FINISHED, FOUND, FRONT, NEVER, STOPPED

COVERAGE = 0.95
"""Of all intervals."""


def described(criterion: Criterion, trial: Trial | None, outcome: Outcome, whole: int) -> dict[str, Any]:
    """What is known of a cell.

    Args:
        trial: None of a cell that the search did without.
        whole: how many requests the documents that choose are.

    Returns:
        asked: the share of the documents that choose. state: what became of it. score: on those
        documents, in points. gap: its score minus the winner's on the documents that both were
            asked.
        slack: by how much it satisfies the constraint, in points. The last three with their
            intervals
        (`interval`), as far as they are known.
    """
    if trial is None:
        return {"asked": 0.0, "state": NEVER}
    asked = sum(own.shape[0] * own.shape[1] for own in trial.answers.values())
    row: dict[str, Any] = {"asked": asked / whole, "state": state(trial, outcome)}
    row |= interval("score", criterion.score_of(trial.known[-1]))
    if trial.gap and trial.candidate != outcome.winner:
        row |= interval("gap", trial.gap)
    if trial.slack:
        row |= interval("slack", trial.slack)
    return row


def state(trial: Trial, outcome: Outcome) -> str:
    """What has become of a candidate, in words."""
    if trial.candidate == outcome.winner:
        return FOUND
    if trial.stopped:
        return f"{STOPPED}: {trial.stopped}"
    return FRONT if trial.candidate in outcome.front else FINISHED


def interval(name: str, found: Difference) -> dict[str, float]:
    """A difference as columns, with its interval."""
    low, high = found.interval(COVERAGE)
    return {name: found.value, f"{name}_low": low, f"{name}_high": high}
