"""Figure 1: what is drawn, looked up in matplotlib's Figure, and the files."""

from __future__ import annotations

import io
import math
import re

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from langmerge.errors import UserError
from langmerge.measures import MEASURES, SHOWN
from langmerge.model import Model
from langmerge.reporting.figure import OKABE_ITO, paper_style, read_figure_spec, weight_labels
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.sources import Sources
from langmerge.reporting.sweep import SweepSpec, best_point, draw
from support.paper_scores import read, row
from support.sweep import LANGUAGES, SPEC, WEIGHTS, curve

PAPER = ["benchmark", "mt", "ifeval"]


def rows(measures: list[str]) -> list[dict]:
    lines = []
    for index, language in enumerate(LANGUAGES):
        for measure in measures:
            changes = {"stderr": 1.0 if measure == "mt" else "", "n": 97}
            for seed, noise in ((21, -1), (22, 0), (23, 1)) if measure == "ifeval" else (("", 0),):
                instruct = row("mini", "instruct", "", language, measure, 5 + 10 * index + noise, seed)
                lines.append(instruct | changes)
                for method in SPEC["methods"]:
                    for weight in WEIGHTS:
                        value = curve(method, measure, weight, index) + noise
                        line = row("mini", method, language, language, measure, value, seed)
                        lines.append(line | {**changes, "weight": weight})
    return lines


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> pd.DataFrame:
    return read(tmp_path_factory.mktemp("figure"), rows(PAPER))


@pytest.fixture(scope="module")
def with_safety(tmp_path_factory) -> pd.DataFrame:
    return read(tmp_path_factory.mktemp("safety"), rows([*PAPER, "safety"]))


def figure(scores: pd.DataFrame, models: tuple[Model, ...] = (), **changes):
    return draw(Sources(scores=scores, models=list(models)), read_figure_spec(SweepSpec, SPEC | changes))


def panels(scores: pd.DataFrame, models: tuple[Model, ...] = (), **changes):
    return figure(scores, models, **changes).axes


def lines(axes) -> dict[str, np.ndarray]:
    """The lines of the languages: label -> points."""
    return {line.get_label(): line.get_xydata() for line in axes.lines if line.get_label() in LANGUAGES}


def test_there_is_one_row_per_method_and_one_column_per_measure(scores):
    axes = panels(scores)
    assert len(axes) == 6
    assert [panel.get_title() for panel in axes[:3]] == [
        "Benchmarks (accuracy, %)",
        "MT (BLEU)",
        "IFEval (strict accuracy, %)",
    ]
    assert (axes[0].get_ylabel(), axes[3].get_ylabel()) == ("Linear", "task_arithmetic")
    assert axes[2].get_ylim() == axes[5].get_ylim() != axes[1].get_ylim()


def test_safety_is_a_fourth_column_where_the_run_has_it(with_safety):
    axes = panels(with_safety)
    assert len(axes) == 8
    assert axes[3].get_title() == "Safety\n(appropriate answers, %)"
    expected = [(weight, curve("linear", "safety", weight, 1)) for weight in WEIGHTS]
    np.testing.assert_allclose(lines(axes[3])["gl"], expected)


@pytest.mark.parametrize("measures", [["benchmark"], ["mt", "ifeval"]], ids="+".join)
def test_there_is_no_panel_of_a_measure_that_the_run_lacks(scores, measures):
    axes = panels(scores[scores["measure"].isin(measures)])
    assert [panel.get_title() for panel in axes[: len(axes) // 2]] == [MEASURES[name].axis for name in measures]


def test_lines_hold_the_scores(scores):
    cells = [(method, measure) for method in SPEC["methods"] for measure in PAPER]
    for panel, (method, measure) in zip(panels(scores), cells, strict=True):
        drawn = lines(panel)
        assert list(drawn) == LANGUAGES
        for index, language in enumerate(LANGUAGES):
            expected = [(weight, curve(method, measure, weight, index)) for weight in WEIGHTS]
            np.testing.assert_allclose(drawn[language], expected)


def test_best_weight_is_ringed_and_named_and_instruct_is_dashed(scores):
    panel = panels(scores)[3]
    rings = [line for line in panel.lines if line.get_markerfacecolor() == "none"]
    assert [ring.get_xdata()[0] for ring in rings] == [1, 1, 1, 1]
    assert [text.get_text() for text in panel.texts] == ["EU 1", "GL 1", "CA 1", "ES 1"]
    dashed = [line for line in panel.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [5, 15, 25, 35]
    assert [to_hex(line.get_color()).upper() for line in dashed] == OKABE_ITO[:4]


def test_where_lower_is_better_the_lowest_score_is_best():
    assert best_point([1, 2, 3], [5.0, math.nan, 4.0], True) == (1, 5.0)
    assert best_point([1, 2, 3], [5.0, math.nan, 4.0], False) == (3, 4.0)
    assert best_point([1, 2], [5.0, 5.0], True) == (1, 5.0), "the smallest w among equals"


def test_the_legend_names_languages_instruct_and_best(scores):
    [legend] = figure(scores).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "EU",
        "GL",
        "CA",
        "ES",
        "95% interval",
        "instruct",
        "best w (above each panel)",
    ]


def test_bands_are_95_percent_intervals_and_absent_where_no_error_is_known(scores):
    def heights(panel) -> list[float]:
        """At w = 1, of each language."""
        found = []
        for band in panel.collections:
            points = [path.vertices[path.vertices[:, 0] == 1.0][:, 1] for path in band.get_paths()]
            found.append(max(map(np.ptp, points), default=0.0))
        return found

    benchmark, mt, *_ = panels(scores)
    assert heights(benchmark) == [0, 0, 0, 0]
    assert heights(mt) == pytest.approx([2 * 1.959964] * 4), "the standard error is 1"


def test_a_missing_point_leaves_a_gap(scores):
    gone = (scores["method"] == "linear") & (scores["target"] == "gl") & (scores["weight"] == 0.75)
    assert gone.any()
    drawn = lines(panels(scores[~gone])[0])
    assert np.isnan(drawn["gl"][WEIGHTS.index(0.75), 1])
    assert not np.isnan(drawn["eu"]).any()


def test_unknown_names_are_shown_as_missing(scores):
    axes = panels(scores, languages=["eu", "cy"], methods=["linear", "dare"])
    assert np.isnan(lines(axes[0])["eu"]).sum() == 0
    assert [text.get_text() for text in axes[0].texts] == ["EU 2", "CY —"]
    assert [text.get_text() for text in axes[3].texts] == ["EU —", "CY —"]
    assert len(panels(scores, backbone="nobody")) == 2 * len(SHOWN), "nothing is known of what it has"


def test_weights_without_a_score_so_far_have_their_place(scores):
    """A preview shows the whole axis: all weights of this backbone, method and language."""
    planned = [Model("mini", "linear", ("eu",), weight) for weight in (1.0, 3.0)]
    others = [
        Model("mini", "linear", ("ca", "eu"), 5.0),
        Model("other", "linear", ("eu",), 6.0),
        Model("mini", "dare", ("eu",), 7.0),
    ]
    axes = panels(scores, models=(*planned, *others, Model("mini", "instruct")))
    points = lines(axes[0])["eu"]
    assert list(points[:, 0]) == [*WEIGHTS, 3]
    assert np.isnan(points[:, 1]).tolist() == [False] * 6 + [True]
    assert list(lines(axes[3])["eu"][:, 0]) == WEIGHTS, (
        "task arithmetic has no such merge: a finished figure stays as it is"
    )


def test_weight_numbers_do_not_run_into_each_other(scores):
    labels = [label.get_text() for label in panels(scores)[3].get_xticklabels()]
    assert labels == ["0.25", "0.5", "0.75", "1", "1.5", "2"]
    assert weight_labels([0.1, 0.15, 1, 2], 1.7) == ["0.1", "", "1", "2"]
    assert weight_labels([0, 0.25, 10], 5) == ["0", "", "10"]
    assert weight_labels([1.0], 1.7) == ["1"]


@pytest.mark.parametrize("languages", [LANGUAGES, [*LANGUAGES, "cy", "sw"]], ids=len)
@pytest.mark.parametrize("columns", [3, 4])
def test_no_text_overlaps_or_leaves_the_figure(scores, with_safety, languages, columns):
    with paper_style():
        drawn = figure(with_safety if columns == 4 else scores, languages=languages)
        drawn.draw_without_rendering()
    assert len(drawn.axes) == 2 * columns
    texts = [text for panel in drawn.axes for text in [*panel.texts, panel.title, panel.yaxis.label]]
    texts += [label for panel in drawn.axes[columns:] for label in panel.get_xticklabels()]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) > 2 * columns * len(languages)
    boxes.append(drawn.legends[0].get_window_extent())
    for index, box in enumerate(boxes):
        assert drawn.bbox.x0 <= box.x0 and box.x1 <= drawn.bbox.x1
        assert drawn.bbox.y0 <= box.y0 and box.y1 <= drawn.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_the_same_scores_give_the_same_bytes(scores):
    spec = SPEC | {"methods": ["linear"], "options": {"dpi": 100}}
    one, two = (LAYOUTS["sweep"].make(Sources(scores=scores), spec, "figure1") for _ in range(2))
    assert tuple(one) == LAYOUTS["sweep"].formats
    assert one == two
    pixels = matplotlib.image.imread(io.BytesIO(one["png"]))
    assert pixels.shape[1] == pytest.approx(6.3 * 100, abs=1)
    assert np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0).shape[0] > 100, "not blank"
    assert one["svg"].startswith(b"<?xml") and b"/Type0" in one["pdf"], "vector fonts"


def test_options_change_the_size_colours_and_measures(scores):
    options = {"width": 3.0, "height_per_row": 1.0, "dpi": 50, "palette": ["#112233"]}
    spec = SPEC | {"measures": ["mt"], "options": options}
    files = LAYOUTS["sweep"].make(Sources(scores=scores), spec, "figure1")
    assert matplotlib.image.imread(io.BytesIO(files["png"])).shape[1] == 150
    [panel, _] = panels(scores, **{key: spec[key] for key in ("measures", "options")})
    assert panel.get_title() == "MT (BLEU)"
    assert {line.get_color() for line in panel.lines if line.get_label() in LANGUAGES} == {"#112233"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown key colour"),
        ({"measures": ["speed"]}, "measures: speed is unknown; known: benchmark, mt, chrf, ifeval, fidelity, safety"),
        ({"options": {"formats": ["gif"]}}, "unknown key formats"),
        ({"options": {"width": -1}}, "width: found -1, expected a number above 0"),
        ({"options": {"palette": ["mauve-ish"]}}, "palette: found ['mauve-ish']"),
        ({"languages": []}, "languages: found []"),
    ],
)
def test_a_wrong_spec_is_explained(scores, change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        LAYOUTS["sweep"].make(Sources(scores=scores), SPEC | change, "figure1")
