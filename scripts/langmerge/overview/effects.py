"""The smallest differences that the documents of a run can show.

A score's error is that of the paired difference between a merge and its instruct model: the
measure's `spread` over the square root of the number of documents, combined over tasks as the score
is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from langmerge.grid.grid import Grid
from langmerge.grid.tasks import MERGES, MINIATURE
from langmerge.measures import MEASURES

LEVEL = 0.05
"""p below which something counts as shown, as in the tables."""

POWER = 0.8
"""In how many cases a difference of the size that is given is shown."""

GENERATED = {"mini_translation": "translations", "mini_ifeval": "prompts"}
"""Which size of the miniature world is the number of documents of a task; of others, `documents`."""


@dataclass(frozen=True)
class Effect:
    """What the documents of a measure can show, all of them or one half.

    Attributes:
        documents: of all of its tasks in one language.
        difference: the smallest that is shown in 4 of 5 cases, in points, where p < 0.05 counts
            (two-sided, one comparison). half: the same on the documents that choose w, or that
            report it.
        margin: the smallest within which a merge that has lost nothing is shown to have lost
            nothing, in 4 of 5 cases (one-sided); given: the margin that the run names.
    """

    backbone: str
    measure: str
    language: str
    documents: int
    difference: float
    half: float
    margin: float
    given: float | None


def effects(grid: Grid) -> list[Effect]:
    """One for each backbone, measure and language of a run's merges, where all documents are known."""
    merged = dict.fromkeys(model.backbone for model in grid.expansion.merges)
    return [
        effect for backbone in merged for language in grid.evaluated for effect in of_language(grid, backbone, language)
    ]


def of_language(grid: Grid, backbone: str, language: str) -> Iterator[Effect]:
    entries = grid.tasks.asked(backbone, MERGES, language)
    members: dict[str, int] = {}
    for entry in entries:
        name = entry.get("group", entry["task"])
        members[name] = members.get(name, 0) + 1
    for measure in MEASURES:
        of_measure = [entry for entry in entries if entry["measure"] == measure]
        counts = {entry["task"]: documents(grid, entry, members) for entry in of_measure}
        if not counts or None in counts.values():
            continue
        tasks = len({entry.get("group", entry["task"]) for entry in of_measure})
        shares = [1 / tasks / members[entry.get("group", entry["task"])] for entry in of_measure]
        variance = sum(share**2 / count for share, count in zip(shares, counts.values(), strict=True))
        error = MEASURES[measure].spread * math.sqrt(variance)
        shown, kept = (NormalDist().inv_cdf(1 - level) + NormalDist().inv_cdf(POWER) for level in (LEVEL / 2, LEVEL))
        yield Effect(
            backbone,
            measure,
            language,
            round(sum(counts.values())),
            shown * error,
            shown * error * math.sqrt(2),
            kept * error,
            grid.config["margins"].get(measure),
        )


def documents(grid: Grid, entry: dict[str, Any], members: dict[str, int]) -> float | None:
    """How many documents a task has, or a member of a group of which only the sum is known."""
    name = entry.get("group", entry["task"])
    if name.startswith(MINIATURE):
        size = next((size for prefix, size in GENERATED.items() if name.startswith(prefix)), "documents")
        count = grid.config["world"].get(size)
    else:
        count = grid.tasks.catalogued(entry).get("documents")
        count = None if count is None else count / members[name]
    return None if count is None else min(count, entry.get("limit", count))
