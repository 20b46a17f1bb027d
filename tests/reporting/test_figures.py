"""Figure 1 and the Pareto fronts: what is drawn, looked up in matplotlib's Figure, and the files."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from langmerge.errors import UserError
from langmerge.reporting.figures import (
    OKABE_ITO,
    checked_spec,
    draw_sweep,
    figure_files,
    label_weights,
    paper_style,
    weight_text,
)
from langmerge.reporting.pareto import Point, draw_pareto, front
from langmerge.reporting.scores import COLUMNS, Model, read_scores
from support.paths import ROOT

LANGUAGES = ["eu", "gl", "ca", "es"]
WEIGHTS = [0.25, 0.5, 0.75, 1, 1.5, 2]
SPEC = {
    "languages": LANGUAGES,
    "methods": ["linear", "task_arithmetic"],
    "backbone": "mini",
    "labels": {"methods": {"linear": "Linear"}},
}


def curve(method: str, measure: str, weight: float, index: int) -> float:
    """Language scores rise with w and instruction following falls; task arithmetic collapses above w = 1."""
    value = 60 - 20 * weight if measure == "ifeval" else 10 * index + 30 * (1 - math.exp(-weight))
    return value * (0.1 if method == "task_arithmetic" and weight > 1 else 1)


def rows() -> list[tuple]:
    lines = []
    for index, language in enumerate(LANGUAGES):
        for measure in ("benchmark", "mt", "ifeval"):
            for seed in (21, 22, 23) if measure == "ifeval" else ("",):
                noise = 0 if seed == "" else seed - 22
                end = (language, measure, f"{measure}_{language}", seed, "all")
                stderr = 1.0 if measure == "mt" else ""
                lines.append(("mini", "instruct", "", "", *end, 5 + 10 * index + noise, stderr, 97))
                for method in SPEC["methods"]:
                    for weight in WEIGHTS:
                        lines.append(
                            (
                                "mini",
                                method,
                                language,
                                weight,
                                *end,
                                curve(method, measure, weight, index) + noise,
                                stderr,
                                97,
                            )
                        )
    return lines


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("figure") / "scores.csv"
    pd.DataFrame(rows(), columns=COLUMNS).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def scores(path) -> pd.DataFrame:
    return read_scores(path)


def panels(scores: pd.DataFrame, **changes):
    return draw_sweep(scores, checked_spec(SPEC | changes)).axes


def lines(axes) -> dict[str, np.ndarray]:
    """The lines of the languages: label -> points."""
    return {line.get_label(): line.get_xydata() for line in axes.lines if line.get_label() in LANGUAGES}


def test_a_row_a_method_and_a_column_a_measure(scores):
    axes = panels(scores)
    assert len(axes) == 6
    assert [panel.get_title() for panel in axes[:3]] == [
        "Benchmarks (accuracy, %)",
        "MT (BLEU)",
        "IFEval (strict accuracy, %)",
    ]
    assert (axes[0].get_ylabel(), axes[3].get_ylabel()) == ("Linear", "task_arithmetic")
    assert axes[2].get_ylim() == axes[5].get_ylim() != axes[1].get_ylim()


def test_lines_hold_the_scores(scores):
    for panel, (method, measure) in zip(
        panels(scores), [(m, x) for m in SPEC["methods"] for x in ("benchmark", "mt", "ifeval")], strict=True
    ):
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


def test_the_legend_names_languages_instruct_and_best(scores):
    [legend] = draw_sweep(scores, checked_spec(SPEC)).legends
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
    def height(panel) -> float:
        [band, *_] = panel.collections
        return max((np.ptp(path.vertices[path.vertices[:, 0] == 1.0][:, 1]) for path in band.get_paths()), default=0.0)

    benchmark, mt, *_ = panels(scores)
    assert height(benchmark) == 0
    assert height(mt) == pytest.approx(2 * 1.959964), "the standard error is 1"


def test_a_missing_point_leaves_a_gap(scores):
    gone = (scores["method"] == "linear") & (scores["target"] == "gl") & (scores["weight"] == 0.75)
    drawn = lines(panels(scores[~gone])[0])
    assert np.isnan(drawn["gl"][WEIGHTS.index(0.75), 1])
    assert not np.isnan(drawn["eu"]).any()


def test_unknown_names_are_shown_as_missing(scores):
    axes = panels(scores, languages=["eu", "cy"], methods=["linear", "dare"])
    assert np.isnan(lines(axes[0])["eu"]).sum() == 0
    assert [text.get_text() for text in axes[0].texts] == ["EU 2", "cy".upper() + " —"]
    assert [text.get_text() for text in axes[3].texts] == ["EU —", "CY —"]
    assert figure_files(draw_sweep, scores, SPEC | {"backbone": "nobody", "formats": ["svg"]})["svg"]


def test_weights_of_the_spec_are_drawn_also_without_a_score(scores):
    points = lines(panels(scores, weights=[1, 0.5, 3])[0])["eu"]
    assert list(points[:, 0]) == [0.5, 1, 3]
    assert np.isnan(points[2, 1])


def test_weight_numbers_do_not_run_into_each_other(scores):
    assert [weight_text(weight) for weight in (0, 0.25, 1, 1.5, 10)] == ["0", ".25", "1", "1.5", "10"]
    axes = panels(scores)
    assert [label.get_text() for label in axes[3].get_xticklabels()] == [".25", ".5", ".75", "1", "1.5", "2"]
    label_weights(np.array([[axes[3]]]), [0.1, 0.15, 1, 2])
    assert [label.get_text() for label in axes[3].get_xticklabels()] == [".1", "", "1", "2"]


def test_no_text_overlaps_or_leaves_the_figure(scores):
    with paper_style():
        figure = draw_sweep(scores, checked_spec(SPEC | {"languages": [*LANGUAGES, "cy", "sw"]}))
        figure.draw_without_rendering()
    boxes = [
        text.get_window_extent()
        for panel in figure.axes
        for text in [*panel.texts, panel.title, panel.yaxis.label]
        if text.get_text()
    ]
    boxes += [label.get_window_extent() for panel in figure.axes[3:] for label in panel.get_xticklabels()]
    boxes.append(figure.legends[0].get_window_extent())
    for index, box in enumerate(boxes):
        assert (
            figure.bbox.x0 <= box.x0
            and box.x1 <= figure.bbox.x1
            and figure.bbox.y0 <= box.y0
            and box.y1 <= figure.bbox.y1
        )
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_command_writes_the_same_bytes_twice(tmp_path, path):
    for folder in ("one", "two"):
        command = [
            sys.executable,
            ROOT / "scripts/plot.py",
            path,
            "--spec",
            json.dumps(SPEC),
            "--output",
            tmp_path / folder / "figure1",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / folder).iterdir()} for folder in ("one", "two"))
    assert sorted(one) == ["figure1.pdf", "figure1.png", "figure1.svg"]
    assert one == two
    pixels = matplotlib.image.imread(io.BytesIO(one["figure1.png"]))
    assert pixels.shape[1] == pytest.approx(6.3 * 200, abs=1)
    assert np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0).shape[0] > 100, "not blank"
    assert one["figure1.svg"].startswith(b"<?xml") and b"/Type0" in one["figure1.pdf"], "vector fonts"


def test_options_change_the_size_colours_and_formats(scores):
    options = {"width": 3.0, "height_per_row": 1.0, "dpi": 50, "palette": ["#112233"], "formats": ["png"]}
    files = figure_files(draw_sweep, scores, SPEC | {"measures": ["mt"], "options": options})
    assert list(files) == ["png"]
    assert matplotlib.image.imread(io.BytesIO(files["png"])).shape[1] == 150


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown key colour"),
        ({"measures": ["safety"]}, "measures: safety is unknown; known: benchmark, mt, ifeval"),
        ({"options": {"formats": ["gif"]}}, "formats: gif is unknown"),
        ({"options": {"width": -1}}, "width: found -1, expected a number above 0"),
        ({"options": {"palette": ["mauve-ish"]}}, "palette: found ['mauve-ish']"),
        ({"languages": []}, "languages: found []"),
    ],
)
def test_a_wrong_spec_is_explained(change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        checked_spec(SPEC | change)


# ---- the Pareto fronts


@pytest.fixture(scope="module")
def with_adapted(scores) -> pd.DataFrame:
    """The instruct model keeps to its own, the adapted models know their language best and follow no instruction."""
    adapted = scores[scores["method"] == "instruct"].copy()
    adapted["method"], adapted["target"] = "adapted", adapted["language"]
    adapted["value"] = np.where(adapted["measure"] == "ifeval", 1.0, 90.0)
    instruct = scores["method"].eq("instruct") & scores["measure"].eq("ifeval")
    return pd.concat([scores.assign(value=scores["value"].mask(instruct, 70.0)), adapted])


def drawn(axes) -> dict[str, list[tuple[float, float]]]:
    """Single points by marker: (instruction following, language)."""
    points = {}
    for line in axes.lines:
        if len(line.get_xdata()) == 1:
            points.setdefault(line.get_marker(), []).append(
                (line.get_xdata()[0], line.get_ydata()[0], line.get_markerfacecolor())
            )
    return points


def test_front_is_what_no_other_point_beats():
    random = np.random.default_rng(1)
    points = [
        Point(Model("mini", "linear", "eu", float(i)), *pair)
        for i, pair in enumerate(random.integers(0, 12, (60, 2)).astype(float))
    ]
    values = {(point.instructions, point.language) for point in points}
    unbeaten = {(x, y) for x, y in values if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in values)}
    kept = [(point.instructions, point.language) for point in front(points)]
    assert kept == sorted(unbeaten)
    assert front([]) == []


def test_a_panel_a_target_and_a_point_a_model(with_adapted):
    figure = draw_pareto(with_adapted, checked_spec(SPEC))
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [panel.get_title() for panel in panels] == ["EU", "GL", "CA", "ES"]
    points = drawn(panels[1])
    assert {marker: len(found) for marker, found in points.items()} == {"*": 1, "X": 1, "o": 6, "s": 6}
    [(x, y, _)] = points["*"]
    assert (x, y) == (70, 15), "IFEval, and the mean of benchmarks and translation"
    expected = [(curve("linear", "ifeval", w, 1), curve("linear", "benchmark", w, 1)) for w in WEIGHTS]
    np.testing.assert_allclose([(x, y) for x, y, _ in points["o"]], expected)


def test_points_off_the_front_are_hollow(with_adapted):
    """Task arithmetic collapses above w = 1: there its points are beaten in both scores."""
    points = drawn(draw_pareto(with_adapted, checked_spec(SPEC)).axes[0])
    assert [face for _, _, face in points["s"]][4:] == ["white", "white"]
    assert "white" not in [face for _, _, face in points["o"]]
    [line] = [
        line
        for line in draw_pareto(with_adapted, checked_spec(SPEC)).axes[0].lines
        if line.get_drawstyle() == "steps-pre"
    ]
    assert len(line.get_xdata()) == 8, "six merges between adapted and instruct"


def test_every_weight_is_written_and_no_two_overlap(with_adapted):
    with paper_style():
        figure = draw_pareto(with_adapted, checked_spec(SPEC | {"methods": ["linear"]}))
        figure.draw_without_rendering()
    for panel in figure.axes[:4]:
        assert [text.get_text() for text in panel.texts] == [weight_text(weight) for weight in WEIGHTS]
        boxes = [text.get_window_extent() for text in panel.texts]
        assert not any(box.overlaps(other) for index, box in enumerate(boxes) for other in boxes[index + 1 :])


def test_the_criterion_is_the_language_axis(with_adapted):
    figure = draw_pareto(with_adapted, checked_spec(SPEC | {"criterion": ["mt"]}))
    assert figure.axes[0].get_ylabel() == "Language (BLEU, mean)"
    changed = with_adapted.assign(value=with_adapted["value"].mask(with_adapted["measure"] == "benchmark", 0.0))
    assert drawn(draw_pareto(changed, checked_spec(SPEC | {"criterion": ["mt"]})).axes[0]) == drawn(figure.axes[0])


def test_a_panel_of_all_languages_where_they_were_merged_together(with_adapted):
    together = with_adapted[(with_adapted["target"] == "eu") & (with_adapted["weight"] == 1)]
    rows = [
        together.assign(target="ca+es+eu+gl", weight=0.25, language=code, task=together["measure"] + "_" + code)
        for code in LANGUAGES
    ]
    figure = draw_pareto(pd.concat([with_adapted, *rows]), checked_spec(SPEC))
    assert [axes.get_title() for axes in figure.axes][4] == "all languages"
    assert drawn(figure.axes[4])["o"][0][0] == 40
    assert figure.axes[5].get_legend() and not figure.legends


def test_pareto_command(tmp_path, path):
    command = [
        sys.executable,
        ROOT / "scripts/plot.py",
        path,
        "--layout",
        "pareto",
        "--spec",
        json.dumps(SPEC),
        "--output",
    ]
    for folder in ("one", "two"):
        done = subprocess.run([*command, tmp_path / folder / "pareto"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / folder).iterdir()} for folder in ("one", "two"))
    assert sorted(one) == ["pareto.pdf", "pareto.png", "pareto.svg"]
    assert one == two


def test_nothing_scored_is_no_error(scores):
    assert figure_files(draw_pareto, scores, SPEC | {"backbone": "nobody", "formats": ["png"]})["png"]
