"""One score per model, language and measure: means, intervals, and what is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from langmerge.model import Model
from langmerge.reporting.summary import Summary, language_score
from support.paper_scores import read, row

LINEAR = Model("mini", "linear", ("eu",), 1.0)
DARE = Model("mini", "dare", ("eu",), 1.0)


def line(value: float, measure: str = "benchmark", **changes) -> dict:
    return row("mini", changes.pop("method", "linear"), "eu", "eu", measure, value) | changes


@pytest.mark.parametrize(("hits", "n"), [(0, 64), (22, 64), (64, 64)])
def test_a_share_has_jeffreys_interval(tmp_path, hits, n):
    score = Summary(read(tmp_path, [line(100 * hits / n, n=n)])).score(LINEAR, "eu", "benchmark")
    low, high = (100 * bound for bound in beta.interval(0.95, hits + 0.5, n - hits + 0.5))
    assert (score.low, score.high) == pytest.approx((low if hits else 0, high if hits < n else 100))


def test_a_score_that_is_no_share_has_the_interval_of_its_standard_error(tmp_path):
    """Matthews' correlation may be 40.0 of 500 documents too, but its bootstrap error is not the
    binomial one.
    """
    score = Summary(read(tmp_path, [line(40.0, "mt", n=500, stderr=1.5)])).score(LINEAR, "eu", "mt")
    assert (score.low, score.high) == pytest.approx((40 - 1.959964 * 1.5, 40 + 1.959964 * 1.5))
    binomial = line(40.0, "mt", n=500, stderr=100 * (0.4 * 0.6 / 499) ** 0.5)
    score = Summary(read(tmp_path, [binomial])).score(LINEAR, "eu", "mt")
    assert (score.low, score.high) == pytest.approx(tuple(100 * bound for bound in beta.interval(0.95, 200.5, 300.5)))


def test_tasks_narrow_an_interval_and_seeds_do_not(tmp_path):
    given = line(30.0, "mt", stderr=1.0)

    def width(rows: list[dict]) -> float:
        score = Summary(read(tmp_path, rows)).score(LINEAR, "eu", "mt")
        return score.high - score.low

    one = width([given])
    assert width([given | {"task": task} for task in "abcd"]) == pytest.approx(one / 2)
    assert width([given | {"seed": seed} for seed in (1, 2, 3, 4)]) == pytest.approx(one)
    assert pd.isna(width([given, given | {"task": "b", "stderr": ""}])), "the published rows' n fits no share"


def test_intervals_cover(tmp_path):
    """Of the means of two tasks with 50 documents, 95% of the intervals hold the truth."""
    random = np.random.default_rng(1)
    rows = []
    for weight in range(400):
        for task, chance in {"easy": 0.9, "hard": 0.3}.items():
            rows.append(line(100 * random.binomial(50, chance) / 50, task=task, weight=weight, n=50))
    summary = Summary(read(tmp_path, rows))
    models = [Model("mini", "linear", ("eu",), float(weight)) for weight in range(400)]
    scores = [summary.score(model, "eu", "benchmark") for model in models]
    assert 0.92 <= np.mean([score.low <= 60 <= score.high for score in scores]) <= 0.98


def test_a_mean_over_fewer_tasks_or_seeds_than_other_models_have_is_missing(tmp_path):
    rows = []
    for method, values in {"linear": (10, 20), "dare": (30, 40)}.items():
        pairs = list(zip(("one", "two"), (21, 22), values, strict=True))
        rows += [line(value, method=method, task=task) for task, _, value in pairs]
        rows += [line(value, "ifeval", method=method, seed=seed) for _, seed, value in pairs]
    summary = Summary(read(tmp_path, rows))
    assert summary.score(LINEAR, "eu", "benchmark").mean == 15
    assert summary.score(DARE, "eu", "ifeval").sd == pytest.approx(50**0.5)

    summary = Summary(read(tmp_path, [entry for entry in rows if entry["value"] != 30]))
    assert summary.score(LINEAR, "eu", "benchmark").mean == 15
    assert pd.isna(summary.score(DARE, "eu", "benchmark").mean)
    assert pd.isna(summary.score(DARE, "eu", "ifeval").mean)


def test_documents_are_counted_once_whatever_the_number_of_seeds(tmp_path):
    rows = [line(1.0, "ifeval", seed=seed, task=task, n=n) for seed in (1, 2) for task, n in (("a", 10), ("b", 5))]
    assert Summary(read(tmp_path, rows)).score(LINEAR, "eu", "ifeval").n == 15


def test_a_language_score_leaves_out_measures_that_were_not_taken(tmp_path):
    """Safety was asked in English alone: it does not count for Basque."""
    rows = [line(60.0), line(20.0, "mt"), line(90.0, "safety") | {"language": "en"}]
    summary = Summary(read(tmp_path, rows))
    assert language_score(LINEAR, summary, ["benchmark", "mt", "safety"]).mean == 40
    assert language_score(LINEAR, summary, ["safety"], ["en"]).mean == 90
    assert pd.isna(language_score(LINEAR, summary, ["ifeval"]).mean)


def test_models_are_found_by_their_columns(tmp_path):
    """References have no weight, and a weight of 0 is a weight."""
    rows = [line(1.0, weight=0), line(2.0, weight=0.5), row("mini", "base", "", "eu", "benchmark", 3.0)]
    summary = Summary(read(tmp_path, rows))
    assert summary.models == {
        Model("mini", "linear", ("eu",), 0.0),
        Model("mini", "linear", ("eu",), 0.5),
        Model("mini", "base"),
    }
    assert summary.weights("mini", "linear", [("eu",)]) == [0, 0.5]
    assert summary.score(Model("mini", "base"), "eu", "benchmark").mean == 3
