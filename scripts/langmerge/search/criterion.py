"""What a search looks for: the cell with the best score, among those that satisfy a constraint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from langmerge.reporting.differences import Difference, Pair, Points, difference, points

Answers = Mapping[str, np.ndarray]
"""A model's answers by task: documents x seeds x numbers that add up to the metric."""

Known = Mapping[str, Points]
"""What a model scores on some documents, by task."""


class Stratum(NamedTuple):
    """A task of a score.

    Attributes:
        share: its weight.
        spread: standard deviation of a difference over its documents, in points (`measures.py`).
    """

    task: str
    metric: str
    share: float
    spread: float


class Criterion(NamedTuple):
    """What is compared.

    Attributes:
        score: the tasks whose weighted mean is to be as high as possible.
        constraint: tasks whose weighted mean must be at least `factor` times the instruct model's;
            none without a constraint.
    """

    score: list[Stratum]
    constraint: list[Stratum]
    factor: float

    @property
    def tasks(self) -> list[str]:
        """All that a candidate is asked."""
        return list(self.metrics)

    @property
    def metrics(self) -> dict[str, str]:
        """The metric of each task."""
        return {stratum.task: stratum.metric for stratum in [*self.score, *self.constraint]}

    @property
    def weights(self) -> dict[str, float]:
        """How many documents each task needs in comparison with the others."""
        return {stratum.task: stratum.share * stratum.spread for stratum in [*self.constraint, *self.score]}

    def known(self, answers: Answers) -> Known:
        """What these answers tell."""
        return {task: points(metric, answers[task]) for task, metric in self.metrics.items()}

    def level(self, known: Known) -> float:
        """A model's score, in points."""
        return sum(share * known[task].total for task, _, share, _ in self.score)

    def score_of(self, known: Known) -> Difference:
        """A model's score with its error: each share counts as if two more answers were right, and
        two wrong (Agresti and Coull 1998).
        """
        pairs = [
            Pair(share, known[task], known[task]._replace(total=0.0, each=np.zeros_like(known[task].each)))
            for task, _, share, _ in self.score
        ]
        return difference(pairs, (100.0, 100.0, 0.0, 0.0))

    def gap(self, first: Known, second: Known) -> Difference:
        """How much higher the first model's score is."""
        return difference(Pair(share, first[task], second[task]) for task, _, share, _ in self.score)

    def slack(self, candidate: Known, instruct: Known) -> Difference:
        """By how much a candidate satisfies the constraint; below 0 where it does not."""
        return difference(
            Pair(share, candidate[task], instruct[task], self.factor) for task, _, share, _ in self.constraint
        )
