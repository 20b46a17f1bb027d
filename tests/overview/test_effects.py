"""The smallest differences that `langmerge plan` says can be shown."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from langmerge.commands.plan import page, summary
from langmerge.grid.grid import Grid, read_run
from langmerge.measures import MEASURES
from langmerge.overview.effects import effects
from langmerge.overview.plan import Plan
from support.paths import ROOT
from support.project import TINY_RUN

RUN = {**TINY_RUN, "backbones": ["mini"], "world": {"lines": 400, "documents": 64, "translations": 20, "prompts": 24}}


def of(run: dict) -> dict[tuple[str, str], tuple]:
    return {(effect.measure, effect.language): effect for effect in effects(Grid(run))}


def test_a_difference_of_that_size_is_shown_in_four_of_five_cases():
    effect = of(RUN)["benchmark", "eu"]
    random = np.random.default_rng(1)
    drawn = random.normal(effect.difference, MEASURES["benchmark"].spread, (4000, effect.documents))
    assert (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.03)
    kept = random.normal(0, MEASURES["benchmark"].spread, (4000, effect.documents))
    claimed = stats.ttest_1samp(kept, -effect.margin, axis=1, alternative="greater").pvalue < 0.05
    assert claimed.mean() == pytest.approx(0.8, abs=0.03)


def test_tasks_are_combined_as_the_score_is_and_limits_count():
    one, three = (
        of(RUN),
        [
            {"task": f"mini_{name}_{{language}}", "measure": "benchmark", "metric": "acc"}
            for name in ("grammar", "calendar", "vocabulary")
        ],
    )
    assert of(RUN | {"tasks": three})["benchmark", "eu"].difference == pytest.approx(
        one["benchmark", "eu"].difference / 3**0.5
    )
    limited = [{**three[0], "limit": 16}]
    assert of(RUN | {"tasks": limited})["benchmark", "eu"].difference == pytest.approx(
        2 * one["benchmark", "eu"].difference
    )
    assert one["ifeval", "en"].documents == 24
    assert one["ifeval", "en"].half == pytest.approx(2**0.5 * one["ifeval", "en"].difference)


def test_groups_and_catalogued_numbers_of_documents():
    found = {
        (effect.measure, effect.language): effect for effect in effects(read_run(str(ROOT / "config" / "paper.yaml")))
    }
    assert found["ifeval", "eu"].documents == 541
    assert found["mt", "gl"].documents == 2024
    assert found["benchmark", "eu"].documents > 15724, "the exams' group has that many"
    assert found["benchmark", "gl"].difference > found["benchmark", "eu"].difference


def test_nothing_is_said_of_unknown_documents():
    assert {measure for measure, _ in of(RUN | {"world": {"lines": 400, "documents": 8}})} == {"benchmark"}


def test_the_page_says_what_cannot_be_shown():
    text = page(summary(Plan(Grid(RUN | {"run": "effects", "margins": {"ifeval": 15}})), 1))
    [line] = [line for line in text.splitlines() if line.startswith("IFEval")]
    assert line.split() == ["IFEval", "eu,", "en", "24", "22.9", "32.3", "15", "20.3"]
    assert "is shown in fewer than 80% of cases" in text and "`nothing lost` is shown in fewer" in text
    without = page(summary(Plan(Grid(RUN | {"run": "effects"})), 1))
    assert "margin" not in without
