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
from langmerge.measures import MEASURES
from langmerge.model import Model
from langmerge.reporting.figure import OKABE_ITO, PAGE, look, paper_style, read_figure_spec, stacked, weight_labels
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
    """The lines of the methods: name -> points, at the places of their w."""
    return {line.get_label(): line.get_xydata() for line in axes.lines if line.get_label() in SPEC["methods"]}


def heights(axes) -> list[list[float]]:
    """The lengths of the intervals of each method's points."""
    segments = [[np.asarray(ends) for ends in bars.get_segments()] for bars in axes.collections]
    return [[np.ptp(ends[:, 1]) if ends.size else math.nan for ends in own] for own in segments]


def best(axes) -> list[str]:
    """What is written in a panel and above it."""
    return [text.get_text() for text in axes.texts]


def test_many_languages_are_side_by_side_with_a_row_per_measure(scores):
    one = figure(scores)
    axes = one.axes
    assert len(axes) == 12
    names = ["Basque", "Galician", "Catalan", "Spanish"]
    assert [panel.get_title() for panel in axes] == [*names, *[""] * 8]
    assert [panel.get_ylabel() for panel in axes[::4]] == [
        "Benchmarks\n(accuracy, %)",
        "MT\n(BLEU)",
        "IFEval\n(strict accuracy, %)",
    ]
    assert axes[0].get_ylim() == axes[3].get_ylim() != axes[4].get_ylim()
    assert one.get_suptitle() == "Mini" and figure(scores, title="Ours.").get_suptitle() == "Ours."


def test_few_languages_have_a_row_each(scores):
    axes = panels(scores, languages=["eu", "gl"])
    assert len(axes) == 6
    assert [panel.get_title().split("\n")[0] for panel in axes] == ["Benchmarks", "MT", "IFEval", "", "", ""]
    assert (axes[0].get_ylabel(), axes[3].get_ylabel()) == ("Basque", "Galician")
    assert axes[0].get_ylim() == axes[3].get_ylim() != axes[1].get_ylim()


def test_more_languages_than_fit_side_by_side_go_on_below(scores):
    languages = [*LANGUAGES, "cy", "sw", "oc"]
    axes = panels(scores, languages=languages)
    assert [panel.get_title() for panel in axes[:4]] == ["Basque", "Galician", "Catalan", "Spanish"]
    assert [panel.get_title() for panel in axes[12:16]] == ["cy", "sw", "oc", ""]
    assert not axes[15].axison and best(axes[12]) == ["no score", "best w", "—", "—"]
    assert axes[11].get_xlabel() == "w", "the lowest panel of its column"


def test_safety_is_a_fourth_measure_where_the_run_has_it(with_safety):
    axes = panels(with_safety)
    assert len(axes) == 16
    assert axes[12].get_ylabel() == "Safety\n(appropriate answers, %)"
    expected = [curve("linear", "safety", weight, 1) for weight in WEIGHTS]
    np.testing.assert_allclose(lines(axes[13])["linear"][:, 1], expected)


@pytest.mark.parametrize("measures", [["benchmark"], ["mt", "ifeval"]], ids="+".join)
def test_there_is_no_panel_of_a_measure_that_the_run_lacks(scores, measures):
    axes = panels(scores[scores["measure"].isin(measures)])
    assert [panel.get_ylabel().replace("\n", " ") for panel in axes[::4]] == [MEASURES[name].axis for name in measures]


def test_lines_hold_the_scores_side_by_side(scores):
    cells = [(measure, index) for measure in PAPER for index in range(4)]
    for panel, (measure, index) in zip(panels(scores), cells, strict=True):
        drawn = lines(panel)
        assert list(drawn) == SPEC["methods"]
        for method, points in drawn.items():
            np.testing.assert_allclose(points[:, 1], [curve(method, measure, weight, index) for weight in WEIGHTS])
            np.testing.assert_allclose(points[:, 0], WEIGHTS, atol=0.05)
        assert (drawn["linear"][:, 0] < drawn["task_arithmetic"][:, 0]).all()


def test_best_weight_is_ringed_and_named_and_reference_models_are_lines(scores):
    panel = panels(scores)[1]
    rings = [line for line in panel.lines if line.get_markerfacecolor() == "none"]
    assert [round(ring.get_xdata()[0]) for ring in rings] == [2, 1]
    assert best(panel) == ["best w", "2", "1"]
    colours = [to_hex(text.get_color()).upper() for text in panel.texts[1:]]
    assert colours == [to_hex(ring.get_markeredgecolor()).upper() for ring in rings] == OKABE_ITO[:2]
    [dashed] = [
        line for line in panel.lines if line.get_linestyle() == "--" and line.get_label() not in SPEC["methods"]
    ]
    assert list(dashed.get_ydata()) == [15, 15]
    assert not [line for line in panel.lines if line.get_linestyle() == ":"], "no model was adapted here"


def test_where_lower_is_better_the_lowest_score_is_best():
    assert best_point([5.0, math.nan, 4.0], True) == 0
    assert best_point([5.0, math.nan, 4.0], False) == 2
    assert best_point([5.0, 5.0], True) == 0, "the smallest w among equals"
    assert best_point([math.nan], True) is None


def test_the_legend_names_methods_reference_models_and_marks(scores):
    [legend] = figure(scores).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "Linear",
        "task_arithmetic",
        "instruct model",
        "adapted model",
        "95% interval",
        "95% interval of instruct",
        "best w, above in this order",
    ]


def test_bars_are_95_percent_intervals_and_absent_where_no_error_is_known(scores):
    axes = panels(scores)
    assert np.nanmax(heights(axes[4])[:2]) == pytest.approx(2 * 1.959964), "the standard error is 1"
    assert np.isnan(heights(axes[0])[0]).all()


def test_a_missing_point_leaves_a_gap(scores):
    gone = (scores["method"] == "linear") & (scores["target"] == "gl") & (scores["weight"] == 0.75)
    assert gone.any()
    axes = panels(scores[~gone])
    assert np.isnan(lines(axes[1])["linear"][WEIGHTS.index(0.75), 1])
    assert not np.isnan(lines(axes[0])["linear"]).any()


def test_unknown_names_are_shown_as_missing(scores):
    axes = panels(scores, languages=["eu", "cy"], methods=["linear", "dare"])
    assert not np.isnan(lines(axes[0])["linear"]).any()
    assert best(axes[0]) == ["best w", "2", "—"]
    assert best(axes[3]) == ["no score", "best w", "—", "—"]


def test_a_backbone_without_scores_so_far_has_no_panels(scores):
    one = figure(scores, backbone="nobody")
    assert not one.axes and one.texts[-1].get_text() == "No model has a score so far."


def test_weights_without_a_score_so_far_have_their_place(scores):
    """A preview shows the whole axis: all weights of this backbone, method and language."""
    planned = [Model("mini", "linear", ("eu",), weight) for weight in (1.0, 3.0)]
    others = [
        Model("mini", "linear", ("ca", "eu"), 5.0),
        Model("other", "linear", ("eu",), 6.0),
        Model("mini", "dare", ("eu",), 7.0),
    ]
    [panel, *_] = panels(scores, models=(*planned, *others, Model("mini", "instruct")))
    points = lines(panel)["linear"]
    np.testing.assert_allclose(points[:, 0], [*WEIGHTS, 3], atol=0.05)
    assert np.isnan(points[:, 1]).tolist() == [False] * 6 + [True]
    assert len(lines(panel)["task_arithmetic"]) == 6, "it has no such merge: a finished figure stays as it is"


def test_weight_numbers_do_not_run_into_each_other(scores):
    labels = [label.get_text() for label in panels(scores, languages=["eu"])[0].get_xticklabels()]
    assert labels == ["0.25", "0.5", "0.75", "1", "1.5", "2"]
    assert weight_labels([0.1, 0.15, 1, 2], 1.7) == ["0.1", "", "1", "2"]
    assert weight_labels([0, 0.25, 10], 5) == ["0", "", "10"]
    assert weight_labels([1.0], 1.7) == ["1"]


@pytest.mark.parametrize("languages", [["eu"], LANGUAGES, [*LANGUAGES, *"abcdefgh"]], ids=len)
def test_no_text_overlaps_or_leaves_the_figure(with_safety, languages):
    names = {code: f"Southern Quechua {code}" for code in languages}
    with paper_style():
        drawn = figure(with_safety, languages=languages, labels={"languages": names})
        drawn.draw_without_rendering()
    assert drawn.get_figheight() <= PAGE
    shown = [panel for panel in drawn.axes if panel.axison]
    assert len(shown) == 4 * len(languages)
    texts = [text for panel in shown for text in [*panel.texts, panel.title, panel.yaxis.label]]
    texts += [label for panel in shown for label in panel.get_xticklabels() if label.get_visible()]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) > 10 * len(languages)
    boxes.append(drawn.legends[0].get_window_extent())
    for index, box in enumerate(boxes):
        assert drawn.bbox.x0 <= box.x0 and box.x1 <= drawn.bbox.x1
        assert drawn.bbox.y0 <= box.y0 and box.y1 <= drawn.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_lines_differ_in_more_than_their_colour():
    looks = [look(index) for index in range(40)]
    assert len({(one["marker"], str(one["linestyle"])) for one in looks[:12]}) == 12
    assert len({tuple(map(str, one.values())) for one in looks}) == 40
    assert stacked(3) == sorted(stacked(3), reverse=True)


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
    [panel, *others] = panels(scores, **{key: spec[key] for key in ("measures", "options")})
    assert panel.get_ylabel() == "MT\n(BLEU)" and len(others) == 3
    assert {line.get_color() for line in panel.lines if line.get_label() in SPEC["methods"]} == {"#112233"}


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
