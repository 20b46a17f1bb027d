"""The difference of two models' scores on the same documents: its error, its interval, and one-sided
tests against a margin.

A score is a mean over tasks, and a task's metric need not be a mean over documents (BLEU). What one
document adds to a metric is its jackknife pseudo-value (Tukey 1958): the metric itself where that is
a mean. The pseudo-values of two models are subtracted document by document; the tasks' variances add
up, and the difference has Student's t distribution with the degrees of freedom of Welch (1947) and
Satterthwaite (1946).

Shapes: D documents of a task, S seeds, K numbers that add up to a metric (`samples.contribution`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import stats

from langmerge.reporting.samples import CORPUS_METRICS, score


class Pair(NamedTuple):
    """Two models' answers to one task.

    Attributes:
        share: weight of the task in the score.
        first, second: D x S x K, of the same documents.
        factor: what the second model's metric is multiplied by before it is subtracted.
    """

    metric: str
    share: float
    first: np.ndarray
    second: np.ndarray
    factor: float = 1.0


class Difference(NamedTuple):
    """First minus second, in points.

    Attributes:
        value: the difference of the scores.
        centre: that of the interval and of the tests. It is pulled a little towards 0 for shares of
            few documents, see `difference`.
        error: standard error; NaN where the answers do not tell.
        freedom: degrees of freedom of `error`.
    """

    value: float
    centre: float
    error: float
    freedom: float

    def interval(self, level: float) -> tuple[float, float]:
        """The two-sided interval with this coverage, such as 0.95."""
        reach = stats.t.isf((1 - level) / 2, self.freedom) * self.error
        return self.centre - reach, self.centre + reach

    def p_not_below(self, bound: float) -> float:
        """p of the one-sided test whose null hypothesis is that the difference is `bound` or less."""
        return float(stats.t.sf((self.centre - bound) / self.error, self.freedom))

    def p_not_above(self, bound: float) -> float:
        """p of the one-sided test whose null hypothesis is that the difference is `bound` or more."""
        return float(stats.t.cdf((self.centre - bound) / self.error, self.freedom))


def difference(pairs: Iterable[Pair]) -> Difference:
    """The difference of two models' scores over some tasks.

    Where a metric is a share of right answers, each task counts as if it had one more document that
    only the first model knows, and one that only the second knows (Bonett and Price 2012). Without
    them, two models that agree on 20 documents would seem to agree on all that there are. The error
    is NaN where two models have the same BLEU on every document, since nothing tells then how far
    they may differ on others, and with fewer than two documents.
    """
    value, centre, variance, spread = 0.0, 0.0, 0.0, 0.0
    for metric, share, first, second, factor in pairs:
        count = len(first)
        value += share * (total(metric, first) - factor * total(metric, second))
        if count < 2:
            variance = math.nan
            continue
        own = pseudo_values(metric, first) - factor * pseudo_values(metric, second)
        if metric not in CORPUS_METRICS:
            own = np.append(own, [100.0, -100.0])
            centre += share * own.mean()
        else:
            centre += share * (total(metric, first) - factor * total(metric, second))
        part = share**2 * own.var(ddof=1) / len(own)
        variance += part
        spread += part**2 / (len(own) - 1)
    if not variance > 0:
        return Difference(value, centre, math.nan, math.nan)
    return Difference(value, centre, math.sqrt(variance), variance**2 / spread)


def total(metric: str, answers: np.ndarray) -> float:
    """A task's score, in points: the mean over seeds of the metric of all documents. D x S x K -> 1."""
    return float(score(metric, answers.sum(0)).mean())


def pseudo_values(metric: str, answers: np.ndarray) -> np.ndarray:
    """What each document adds to a task's score, in points, so that the mean is the score up to the
    jackknife's correction of bias. D x S x K -> D.
    """
    sums, count = answers.sum(0), len(answers)
    return (count * score(metric, sums) - (count - 1) * score(metric, sums - answers)).mean(1)
