"""The layout best among merges that are shown to have lost nothing."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest

from langmerge.errors import UserError
from langmerge.grid.grid import Grid
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.scores import of_results, read_scores
from langmerge.reporting.sources import Sources
from support.answers import Run, answers
from support.project import TINY_RUN

COUNT = 400


class Sweep(Run):
    """The larger w, the more a merge knows, and the less it follows instructions."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.add("instruct", None, "t", "acc", answers(1, COUNT, 0.4))
        self.add("instruct", None, "follow", "acc", answers(2, COUNT, 0.6), measure="ifeval")
        for weight, known, followed in ((0.5, 0.5, 0.6), (1.0, 0.6, 0.59), (2.0, 0.8, 0.3)):
            self.add("linear", weight, "t", "acc", answers(1, COUNT, known))
            self.add("linear", weight, "follow", "acc", answers(2, COUNT, followed), measure="ifeval")

    def table(self, **changes) -> tuple[pd.DataFrame, str]:
        spec = {"languages": ["eu"], "backbones": ["mini"], "methods": ["linear"]} | changes
        scores = of_results((one.path, one.result) for one in self.answered)
        files = LAYOUTS["best"].make(Sources(scores=scores, answers=self.answered), spec, "best")
        return pd.read_csv(io.StringIO(files["csv"]), dtype={"w_dev": str, "w_all": str}), files["md"]


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    return Sweep(tmp_path)


def test_the_best_is_chosen_among_the_merges_that_have_lost_nothing(sweep):
    table, text = sweep.table()
    assert table["w_dev"][1] == "2" and "p_kept_test" not in table and "p kept" not in text
    table, text = sweep.table(keep=["ifeval"], margins={"ifeval": 3.0, "mt": 2.0})
    instruct, linear = table.to_dict("records")
    assert (linear["w_dev"], linear["w_all"]) == ("1", "1")
    assert linear["p_kept_all"] < linear["p_kept_test"] < 0.05
    assert math.isnan(instruct["p_kept_test"])
    assert (
        "lost nothing in IFEval in its target languages: to be worse than the instruct model by less than the" in text
    )
    assert "in points, 3 (IFEval)." in text


def test_merges_that_cannot_be_chosen_are_counted(sweep):
    """As where voters have not seen all of them."""
    assert "cannot be chosen" not in sweep.table()[1]
    sweep.add("linear", 3.0, "follow", "acc", answers(2, COUNT, 0.6), measure="ifeval")
    assert "Of 4 merges, 1 cannot be chosen, because they have no score" in sweep.table(criterion=["benchmark"])[1]


def test_no_merge_is_chosen_where_none_is_shown_to_have_lost_nothing(sweep):
    table, text = sweep.table(keep=["ifeval"], margins={"ifeval": 0.01})
    assert list(table["w_dev"])[1] == "—" and math.isnan(table["benchmark_test"][1])
    assert "| — " in text


def test_a_language_must_be_kept_in_all_measures_with_a_margin_and_missing_answers_show_nothing(sweep):
    """English was asked of the instruct model and of one merge only."""
    sweep.add("instruct", None, "english", "acc", answers(3, COUNT, 0.7), language="en")
    sweep.add("linear", 0.5, "english", "acc", answers(3, COUNT, 0.69), language="en")
    table, text = sweep.table(keep=["en"], margins={"benchmark": 5.0}, evaluation_languages=["en"])
    assert list(table["w_dev"])[1] == "0.5"
    assert "all measures with a margin in EN" in text


def test_a_table_of_scores_made_from_results_is_that_of_scores_csv(sweep, tmp_path):
    found = of_results((one.path, one.result) for one in sweep.answered)
    found.to_csv(tmp_path / "scores.csv", index=False)
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.csv"), found.reset_index(drop=True), check_dtype=False)


@pytest.mark.parametrize(
    ("keep", "margins", "message"),
    [
        (["ifeval"], {}, "tables.best.keep: ifeval: this measure has no margin"),
        (["votes"], {}, "tables.best.keep: votes: votes do not compare models document by document"),
        (["ifeval"], {"ifeval": 1, "votes": 1}, "margins: found 'votes', expected one of benchmark"),
        (["fr"], {"ifeval": 5}, "tables.best.keep: fr: neither a measure nor a language of the run. Known: ifeval, eu"),
        (["eu"], {}, "tables.best.keep: eu: no measure has a margin"),
        (["eu"], {"ifeval": 0}, "margins.ifeval: 0 is less than or equal to the minimum of 0"),
        (["eu"], {"speed": 1}, "margins: found 'speed', expected one of"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_any_job(keep, margins, message):
    config = {
        **TINY_RUN,
        "backbones": ["mini"],
        "margins": margins,
        "tables": {"best": {"layout": "best", "methods": ["linear"], "keep": keep}},
    }
    with pytest.raises(UserError, match=message):
        Grid(config)
