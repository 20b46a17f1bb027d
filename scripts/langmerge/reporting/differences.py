"""The difference of two models' scores on the same documents: its error, its interval, and
one-sided tests against a margin.

A score is a mean over tasks, and a task's metric need not be a mean over documents (BLEU). What one
document adds to a metric is its jackknife pseudo-value (Tukey 1958): the metric itself where that
is a mean. The pseudo-values of two models are subtracted document by document; the tasks' variances
add up, and the difference has Student's t distribution with the degrees of freedom of Welch (1947)
and Satterthwaite (1946).

Shapes: D documents of a task, S seeds, K numbers that add up to a metric (`samples.contribution`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special  # scipy.stats, which calls these, takes a second to load

from langmerge.reporting.samples import CORPUS_METRICS, score


class Points(NamedTuple):
    """One model's score in one task, in points.

    Attributes:
        total: the mean over seeds of the metric of all documents.
        each: D, what each document adds: its pseudo-value, so that their mean is the total up to
            the jackknife's correction of bias.
    """

    metric: str
    total: float
    each: np.ndarray


class Pair(NamedTuple):
    """Two models' scores in one task, of the same documents.

    Attributes:
        share: weight of the task in the score.
        factor: what the second model's score is multiplied by before it is subtracted.
    """

    share: float
    first: Points
    second: Points
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
        reach = -special.stdtrit(self.freedom, (1 - level) / 2) * self.error
        return self.centre - reach, self.centre + reach

    def p_not_below(self, bound: float) -> float:
        """p of the one-sided test whose null hypothesis is that the difference is `bound` or less."""
        return float(special.stdtr(self.freedom, (bound - self.centre) / self.error))

    def p_not_above(self, bound: float) -> float:
        """p of the one-sided test whose null hypothesis is that the difference is `bound` or more."""
        return float(special.stdtr(self.freedom, (self.centre - bound) / self.error))


def difference(pairs: Iterable[Pair], added: Sequence[float] = (100.0, -100.0)) -> Difference:
    """The difference of two models' scores over some tasks.

    Where a metric is a share of right answers, each task counts as if it had one more document that
    only the first model knows, and one that only the second knows (Bonett and Price 2012). Without
    them, two models that agree on 20 documents would seem to agree on all that there are. The error
    is NaN where two models have the same BLEU on every document, since nothing tells then how far
    they may differ on others, and with fewer than two documents.

    Args:
        added: what those documents add.
    """
    value, centre, variance, spread = 0.0, 0.0, 0.0, 0.0
    for share, first, second, factor in pairs:
        change = first.total - factor * second.total
        value += share * change
        own = first.each - factor * second.each
        if len(own) < 2:
            variance = math.nan
            continue
        if first.metric in CORPUS_METRICS:
            centre += share * change
        else:
            own = np.append(own, added)
            centre += share * own.mean()
        part = share**2 * own.var(ddof=1) / len(own)
        variance += part
        spread += part**2 / (len(own) - 1)
    if not variance > 0:
        return Difference(value, centre, math.nan, math.nan)
    return Difference(value, centre, math.sqrt(variance), variance**2 / spread)


def points(metric: str, answers: np.ndarray) -> Points:
    """A model's score from its answers, D x S x K."""
    sums, count = answers.sum(0), len(answers)
    scores = score(metric, sums)
    without = score(metric, sums - answers)
    return Points(metric, float(scores.mean()), (count * scores - (count - 1) * without).mean(1))
