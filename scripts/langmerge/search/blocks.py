"""The documents of a search, in blocks: a part of each task, then more, then all.

Each task's documents are ordered by their hashes, so that a block is a random part of them and the
same for all candidates. A block takes from each task what makes the error of the score smallest
(Neyman 1934): as many documents as the task's weight in the score times the standard deviation of
its differences. So a task of 15,000 documents that counts as much as one of 500 is not asked 30
times as many.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np

SHARES = (0.05, 0.2, 0.5, 1.0)
"""Which share of the documents has been asked after each block."""

FEWEST = 2
"""Documents of each task in the first block: with fewer, a difference has no error."""

Block = Mapping[str, np.ndarray]
"""For each task the documents that are asked."""


def blocks(documents: Block, weights: Mapping[str, float]) -> list[Block]:
    """The documents that each block adds, in their order.

    Args:
        weights: of each task: how many of its documents are asked for one of another task, until
            there are no more.
    """
    sizes = {task: len(own) for task, own in documents.items()}
    ends = [dict.fromkeys(documents, 0), *(allotted(sizes, weights, share) for share in SHARES)]
    return [
        {task: own[start[task] : end[task]] for task, own in documents.items()}
        for start, end in itertools.pairwise(ends)
    ]


def allotted(sizes: Mapping[str, int], weights: Mapping[str, float], share: float) -> dict[str, int]:
    """How many documents of each task this share of all documents has.

    The tasks are filled in the order in which they run out; each gets its part of what is left.
    """
    left, weight, counts = share * sum(sizes.values()), sum(weights[task] for task in sizes), {}
    for task in sorted(sizes, key=lambda task: sizes[task] / weights[task]):
        count = min(sizes[task], left * weights[task] / weight)
        left, weight = left - count, weight - weights[task]
        counts[task] = min(sizes[task], max(FEWEST, math.ceil(count - 1e-9)))
    return counts
