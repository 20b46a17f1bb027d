"""Differences of scores from paired documents, checked against scipy, and by how often they are
wrong.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from langmerge.reporting.differences import Pair, Points, difference, points
from langmerge.reporting.samples import chrf_counts, score

ANSWERS = np.random.default_rng(3)


def shares(values) -> np.ndarray:
    """Right and wrong answers as `samples.contribution` has them: D x 1 seed x 2."""
    return np.stack([np.asarray(values, float), np.ones(len(values))], axis=-1)[:, None]


def pair(metric: str, share: float, first: np.ndarray, second: np.ndarray, factor: float = 1.0) -> Pair:
    return Pair(share, points(metric, first), points(metric, second), factor)


def right(count: int, chance: float, random=ANSWERS) -> np.ndarray:
    return shares(random.random(count) < chance)


def test_the_test_is_scipys_on_the_differences_with_one_more_document_of_each_kind():
    first, second = right(60, 0.5), right(60, 0.6)
    found = difference([pair("acc", 1.0, first, second)])
    own = np.append(100 * (first - second)[:, 0, 0], [100, -100])
    assert found.value == pytest.approx(100 * (first - second)[:, 0, 0].mean())
    assert found.centre == pytest.approx(own.mean())
    for bound in (-5, 0, 12):
        greater = stats.ttest_1samp(own, bound, alternative="greater").pvalue
        assert found.p_not_below(bound) == pytest.approx(greater)
        assert found.p_not_above(bound) == pytest.approx(1 - greater)
    expected = stats.ttest_1samp(own, 0).confidence_interval(0.95)
    assert found.interval(0.95) == pytest.approx((expected.low, expected.high))


def test_tasks_of_different_size_are_combined_as_in_welchs_test():
    changes = [(right(count, chance) - right(count, 0.5))[:, 0, 0] for count, chance in ((20, 0.5), (200, 0.7))]
    found = difference(Pair(0.5, Points("acc", 0, 100 * change), Points("acc", 0, 0 * change)) for change in changes)
    halves = [np.append(50 * change, [50, -50]) for change in changes]
    expected = stats.ttest_ind(halves[0], -halves[1], equal_var=False)
    assert found.centre / found.error == pytest.approx(expected.statistic)
    assert found.freedom == pytest.approx(expected.df)


def test_pseudo_values_of_a_share_are_the_answers_and_seeds_of_a_document_belong_together():
    answers = np.concatenate([right(30, 0.5), right(30, 0.5)], axis=1)
    np.testing.assert_allclose(points("acc", answers).each, 100 * answers[..., 0].mean(1))


def translations(count: int, chance: float, random: np.random.Generator) -> np.ndarray:
    """Counts of chrF++ of sentences whose words are right with this chance: D x 1 x K."""
    references = [" ".join(random.choice(["etxe", "mendi", "ibai", "zubi", "kale"], 8)) for _ in range(count)]
    guesses = [" ".join(word if random.random() < chance else "x" for word in line.split()) for line in references]
    return np.array([chrf_counts(guess, [line]) for guess, line in zip(guesses, references, strict=True)], float)[
        :, None
    ]


def test_the_error_of_a_corpus_metric_is_that_of_a_bootstrap():
    random = np.random.default_rng(8)
    first, second = translations(80, 0.6, random), translations(80, 0.5, random)
    found = difference([pair("chrf++", 1.0, first, second)])
    drawn = random.integers(0, 80, (2000, 80))
    resampled = score("chrf++", first[drawn, 0].sum(1)) - score("chrf++", second[drawn, 0].sum(1))
    assert found.error == pytest.approx(resampled.std(), rel=0.1)
    assert found.value == found.centre == pytest.approx(points("chrf++", first).total - points("chrf++", second).total)


@pytest.mark.parametrize("count", [12, 100])
def test_nothing_lost_is_claimed_wrongly_in_one_of_twenty_cases_at_most(count):
    """The merge is worse by exactly the margin: 10 points, on documents that both mostly know."""
    random = np.random.default_rng(count)
    claims = 0
    for _ in range(2000):
        known, luck = random.random(count) < 0.9, random.random((2, count))
        merge = np.where(known, luck[0] < 0.8, luck[0] < 0.1)
        instruct = np.where(known, luck[0] < 0.8 + 0.1 / 0.9, luck[0] < 0.1)
        claims += difference([pair("acc", 1.0, shares(merge), shares(instruct))]).p_not_below(-10) < 0.05
    assert claims / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    """Two tasks, one of them with 30 translations: the truth is that of 20,000 documents."""
    random = np.random.default_rng(4)
    large = [translations(4000, chance, random) for chance in (0.55, 0.5)]
    truth = 0.5 * (points("chrf++", large[0]).total - points("chrf++", large[1]).total) + 0.5 * 5
    held = 0
    for _ in range(1000):
        drawn = random.integers(0, 4000, 30)
        pairs = [
            pair("chrf++", 0.5, large[0][drawn], large[1][drawn]),
            pair("acc", 0.5, right(60, 0.65, random), right(60, 0.6, random)),
        ]
        low, high = difference(pairs).interval(0.95)
        held += low < truth < high
    assert held / 1000 == pytest.approx(0.95, abs=0.025)


def test_agreement_on_few_documents_shows_little():
    """Twelve documents that both know: a loss of 10 points cannot be excluded; with 200 it can."""
    few, many = (difference([pair("acc", 1.0, *[shares(np.ones(count))] * 2)]) for count in (12, 200))
    assert few.value == many.value == 0
    assert few.p_not_below(-10) > 0.05 > many.p_not_below(-10)


def test_what_the_answers_do_not_tell_is_not_a_number():
    same = translations(20, 0.5, np.random.default_rng(1))
    for pairs in ([pair("chrf++", 1.0, same, same)], [pair("acc", 1.0, right(1, 0.5), right(1, 0.5))]):
        found = difference(pairs)
        assert math.isnan(found.error)
        assert math.isnan(found.p_not_below(-5)) and math.isnan(found.interval(0.95)[0])


def test_a_multiple_of_the_second_model_can_be_subtracted():
    """At least 90% of the instruct model's score."""
    first, second = right(50, 0.5), right(50, 0.5)
    found = difference([pair("acc", 1.0, first, second, 0.9)])
    assert found.value == pytest.approx(points("acc", first).total - 0.9 * points("acc", second).total)
