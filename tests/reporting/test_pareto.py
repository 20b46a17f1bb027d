"""The Pareto fronts: what is drawn, looked up in matplotlib's Figure, and the files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from langmerge.errors import UserError
from langmerge.model import Model
from langmerge.reporting.figure import paper_style, read_figure_spec
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.pareto import ParetoSpec, Point, draw, front
from langmerge.reporting.sources import Sources
from langmerge.reporting.summary import Score
from support.paper_scores import read, row
from support.sweep import LANGUAGES, SPEC, WEIGHTS, curve


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> pd.DataFrame:
    """The instruct model follows instructions best, the adapted models know their language best."""
    lines = []
    for index, language in enumerate(LANGUAGES):
        for measure in ("benchmark", "mt", "ifeval"):
            is_ifeval = measure == "ifeval"
            lines.append(row("mini", "instruct", "", language, measure, 70 if is_ifeval else 5 + 10 * index))
            lines.append(row("mini", "adapted", language, language, measure, 1 if is_ifeval else 90))
            for method in SPEC["methods"]:
                for weight in WEIGHTS:
                    value = curve(method, measure, weight, index)
                    lines.append(row("mini", method, language, language, measure, value) | {"weight": weight})
    return read(tmp_path_factory.mktemp("pareto"), lines)


def figure(scores: pd.DataFrame, **changes):
    return draw(Sources(scores=scores), read_figure_spec(ParetoSpec, SPEC | changes))


def drawn(axes) -> dict[str, list[tuple[float, float, str]]]:
    """Single points by marker: (instruction following, language, face colour)."""
    points = {}
    for line in axes.lines:
        if len(line.get_xdata()) == 1:
            point = line.get_xdata()[0], line.get_ydata()[0], line.get_markerfacecolor()
            points.setdefault(line.get_marker(), []).append(point)
    return points


def test_front_is_what_no_other_point_beats():
    random = np.random.default_rng(1)
    pairs = random.integers(0, 12, (60, 2)).astype(float)
    points = [Point(Model("mini", "linear", ("eu",), float(i)), *map(Score, pair)) for i, pair in enumerate(pairs)]
    values = {point.xy for point in points}
    unbeaten = {(x, y) for x, y in values if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in values)}
    kept = [point.xy for point in front(points)]
    assert kept == sorted(unbeaten)
    assert front([]) == []


def test_there_is_one_panel_per_target_and_one_point_per_model(scores):
    panels = [axes for axes in figure(scores).axes if axes.get_title()]
    assert [panel.get_title() for panel in panels] == ["Basque", "Galician", "Catalan", "Spanish"]
    assert len({(panel.get_xlim(), panel.get_ylim()) for panel in panels}) == 1, "one scale"
    points = drawn(panels[1])
    assert {marker: len(found) for marker, found in points.items()} == {"*": 1, "X": 1, "o": 6, "s": 6}
    [(x, y, _)] = points["*"]
    assert (x, y) == (70, 15), "IFEval and benchmarks, each in its own unit"
    expected = [(curve("linear", "ifeval", w, 1), curve("linear", "benchmark", w, 1)) for w in WEIGHTS]
    np.testing.assert_allclose([(x, y) for x, y, _ in points["o"]], expected)


def test_points_off_the_front_are_hollow(scores):
    """Task arithmetic collapses above w = 1: there its points are beaten in both scores."""
    panel = figure(scores).axes[0]
    points = drawn(panel)
    assert [face for _, _, face in points["s"]][4:] == ["white", "white"]
    assert "white" not in [face for _, _, face in points["o"]]
    [line] = [line for line in panel.lines if line.get_drawstyle() == "steps-pre"]
    assert len(line.get_xdata()) == 8, "six merges between adapted and instruct"


@pytest.mark.parametrize("methods", [["linear"], SPEC["methods"]], ids=len)
def test_labels_cover_no_label_and_no_point(scores, methods):
    with paper_style():
        one = figure(scores, methods=methods)
        one.draw_without_rendering()
    for panel in one.axes[:4]:
        labels = [text.get_text() for text in panel.texts]
        assert sorted(labels) == ["0.25", "0.5", "0.75", "1", "1.5", "2"] or len(methods) == 2
        assert {"0.25", "2"} <= {*labels}, "the ends of a line"
        boxes = [text.get_window_extent() for text in panel.texts]
        assert not any(box.overlaps(other) for index, box in enumerate(boxes) for other in boxes[index + 1 :])
        points = panel.transData.transform([line.get_xydata()[0] for line in panel.lines if len(line.get_xdata()) == 1])
        assert not any(box.count_contains(points) for box in boxes)


def test_merges_that_lack_a_score_are_counted(scores):
    lacks = (
        (scores["measure"] == "ifeval") & (scores["method"] == SPEC["methods"][0]) & (scores["weight"] == WEIGHTS[0])
    )
    merges = len(SPEC["methods"]) * len(WEIGHTS) * len(LANGUAGES)
    _, note = figure(scores[~lacks]).get_suptitle().split("\n")
    assert note == f"Not shown: {len(LANGUAGES)} of {merges} merges, which lack one of the scores"
    assert "Not shown" not in figure(scores).get_suptitle()


def test_the_measure_is_the_vertical_axis(scores):
    by_bleu = figure(scores.assign(value=scores["value"].mask(scores["measure"] == "benchmark", 0.0)), measure="mt")
    panel = by_bleu.axes[0]
    assert panel.get_ylabel() == "MT\n(BLEU)" and figure(scores).axes[0].get_ylabel() == "Benchmarks\n(accuracy, %)"
    np.testing.assert_allclose([y for _, y, _ in drawn(panel)["o"]], [curve("linear", "mt", w, 0) for w in WEIGHTS])


def test_a_figure_of_few_scores_is_one_of_whole_panels(scores):
    """Twelve languages and one."""
    many = [f"{code}{number}" for number in range(3) for code in LANGUAGES]
    copies = [scores[scores["language"] == code[:2]].assign(language=code, task=scores["task"] + code) for code in many]
    copies = [
        copy.assign(target=copy["target"].mask(copy["target"] != "", code))
        for copy, code in zip(copies, many, strict=True)
    ]
    one = figure(pd.concat(copies), languages=many)
    assert [panel.get_title() for panel in one.axes] == many
    assert [panel.get_xlabel() != "" for panel in one.axes] == [False] * 8 + [True] * 4
    assert len(figure(scores, languages=["eu"]).axes) == 1


def test_all_languages_have_a_panel_where_they_were_merged_together(scores):
    together = scores[(scores["target"] == "eu") & (scores["weight"] == 1)]
    rows = [
        together.assign(target="ca+es+eu+gl", weight=0.25, language=code, task=together["measure"] + "_" + code)
        for code in LANGUAGES
    ]
    one = figure(pd.concat([scores, *rows]))
    assert [axes.get_title() for axes in one.axes][4] == "All languages, one merge"
    assert drawn(one.axes[4])["o"][0][0] == 40
    assert not one.axes[5].axison and len(one.legends) == 1


def test_there_is_no_empty_panel(scores):
    """Of the four languages, two have no IFEval."""
    gone = (scores["measure"] == "ifeval") & scores["language"].isin(["eu", "ca"])
    one = figure(scores[~gone])
    assert [panel.get_title() for panel in one.axes] == ["Galician", "Spanish"]


@pytest.mark.parametrize(("backbone", "measure"), [("nobody", ""), ("mini", "ifeval")])
def test_nothing_to_show_is_said(scores, backbone, measure):
    """Neither of an unknown backbone nor of a run without IFEval."""
    one = figure(scores[scores["measure"] != measure], backbone=backbone)
    assert [text.get_text() for text in one.texts][-1] == "No model has both scores."
    assert not any(axes.axison for axes in one.axes)


def test_the_same_scores_give_the_same_bytes(scores):
    spec = SPEC | {"languages": ["eu"], "options": {"dpi": 60}}
    one, two = (LAYOUTS["pareto"].make(Sources(scores=scores), spec, "pareto") for _ in range(2))
    assert tuple(one) == LAYOUTS["pareto"].formats
    assert one == two


def test_an_unknown_measure_is_refused(scores):
    with pytest.raises(UserError, match="measure: speed is unknown"):
        LAYOUTS["pareto"].make(Sources(scores=scores), SPEC | {"measure": "speed"}, "pareto")
