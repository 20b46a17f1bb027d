"""The layout sweep (Figure 1 of the paper): scores against the weight w, one panel per method and
measure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from langmerge.measures import MEASURES, SHOWN
from langmerge.model import Model
from langmerge.reporting.figure import (
    FigureSpec,
    check_measures,
    figure_files,
    look,
    paper_style,
    read_figure_spec,
    weight_labels,
)
from langmerge.reporting.printing import MISSING
from langmerge.reporting.sources import Sources
from langmerge.reporting.summary import Summary

DASHES = (4, 4)
RING = {"linestyle": "none", "marker": "o", "markersize": 7, "markerfacecolor": "none", "markeredgewidth": 0.9}
BEST_WIDTH = 0.43
"""Inches that one language's best w takes above a panel."""


@dataclass(frozen=True, kw_only=True)
class SweepSpec(FigureSpec):
    """What the figure is told; without `measures`, it shows those that have scores."""

    measures: list[str] = field(default_factory=list)


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, bytes]:
    settings = read_figure_spec(SweepSpec, spec)
    check_measures("measures", settings.measures)
    with paper_style():
        return figure_files(draw(sources, settings), settings.dpi)


def draw(sources: Sources, spec: SweepSpec) -> Figure:
    """One row of panels per method, one column per measure; columns share their y axis, the legend
    is below.
    """
    scores = sources.scores
    summary = Summary(
        scores[(scores["backbone"] == spec.backbone) & scores["method"].isin([*spec.methods, "instruct"])]
    )
    measures = spec.measures or summary.scored(SHOWN, spec.languages)
    weights = {method: weights_of(sources.models, summary, spec, method) for method in spec.methods}
    width = spec.width / len(measures) - 0.36  # of a panel without its numbers
    per_line = max(int(width / BEST_WIDTH), 1)
    lines = math.ceil(len(spec.languages) / per_line)
    height = len(spec.methods) * (spec.height_per_row + 0.12 * (lines - 1)) + 0.45
    figure = Figure(figsize=(spec.width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0.03)
    panels = figure.subplots(len(spec.methods), len(measures), sharex=True, sharey="col", squeeze=False)
    for method, row in zip(spec.methods, panels, strict=True):
        for measure, axes in zip(measures, row, strict=True):
            best = draw_panel(axes, summary, spec, method, measure, weights[method])
            write_best(axes, spec, best, per_line)
        row[0].set_ylabel(spec.label("methods", method), fontweight="bold")
    for measure, axes in zip(measures, panels[0], strict=True):
        axes.set_title(title_of(measure, len(measures)), pad=6 + 9 * lines, fontsize=8 if len(measures) < 4 else 6.5)
    label_weights(panels, sorted({weight for own in weights.values() for weight in own}), width)
    if spec.title:
        figure.suptitle(spec.title, fontsize=8.5)
    entries = legend(spec)
    rows = math.ceil(len(entries) / 7)
    figure.legend(
        handles=entries,
        loc="outside lower center",
        ncols=math.ceil(len(entries) / rows),
        handlelength=2.2,
        columnspacing=1.6,
    )
    return figure


def weights_of(models: list[Model], summary: Summary, spec: SweepSpec, method: str) -> list[float]:
    """The w of a method's points, ascending: those of the run, also of merges that have no score so
    far.
    """
    targets = [(language,) for language in spec.languages]
    planned = {
        model.weight
        for model in models
        if (model.backbone, model.method) == (spec.backbone, method) and model.target in targets
    }
    return sorted(planned | set(summary.weights(spec.backbone, method, targets)))


def title_of(measure: str, panels: int) -> str:
    """A measure's title, on two lines where several panels leave little room."""
    title = MEASURES[measure].axis
    return title.replace(" (", "\n(") if panels > 3 or len(title) > 28 else title


def draw_panel(
    axes: Axes, summary: Summary, spec: SweepSpec, method: str, measure: str, weights: list[float]
) -> list[float | None]:
    """Draw each language's own merges over w with their 95% intervals, its best w, and its instruct
    model.

    A missing score leaves a gap.

    Returns:
        The best w of each language, None where every score is missing.
    """
    found: list[float | None] = []
    for index, language in enumerate(spec.languages):
        own = look(index, spec.palette)
        instruct = summary.score(Model(spec.backbone, "instruct"), language, measure)
        if not math.isnan(instruct.mean):
            dashes = (2.0 * index, DASHES)  # shifted, so that equal scores show all their colours
            axes.axhline(instruct.mean, color=own["color"], linewidth=0.7, linestyle=dashes, zorder=1.5)
        models = [Model(spec.backbone, method, (language,), weight) for weight in weights]
        points = [summary.score(model, language, measure) for model in models]
        means = [point.mean for point in points]
        axes.plot(weights, means, **own, label=language)
        lows, highs = [point.low for point in points], [point.high for point in points]
        axes.fill_between(weights, lows, highs, color=own["color"], alpha=0.09, linewidth=0)
        best = best_point(weights, means, MEASURES[measure].higher_is_better)
        if best:
            axes.plot(*best, **RING, markeredgecolor=own["color"])
        found.append(best[0] if best else None)
    axes.margins(y=0.08)
    return found


def write_best(axes: Axes, spec: SweepSpec, best: list[float | None], per_line: int) -> None:
    """Write each language's best w above a panel, so many on a line."""
    lines = math.ceil(len(best) / per_line)
    for index, (language, weight) in enumerate(zip(spec.languages, best, strict=True)):
        axes.text(
            (index % per_line + 0.5) / per_line,
            1.04 + 0.1 * (lines - 1 - index // per_line),
            f"{language.upper()} {MISSING if weight is None else f'{weight:g}'}",
            transform=axes.transAxes,
            color=look(index, spec.palette)["color"],
            ha="center",
            fontsize=6.5,
            fontweight="bold",
        )


def best_point(weights: list[float], means: list[float], higher_is_better: bool) -> tuple[float, float] | None:
    """The (w, score) of the best score, at the smallest w among equals; None if every score is
    missing.
    """
    points = [(w, mean) for w, mean in zip(weights, means, strict=True) if not math.isnan(mean)]
    return max(points, key=lambda point: point[1] if higher_is_better else -point[1], default=None)


def label_weights(panels: np.ndarray, weights: list[float], width: float) -> None:
    """Put a tick at every w, and its number where there is room.

    Args:
        panels: rows x columns of axes. width: of a panel, in inches.
    """
    if not weights:
        return
    for axes in panels.flat:
        axes.set_xticks(weights, weight_labels(weights, width))
    for axes in panels[-1]:
        axes.set_xlabel("w", fontstyle="italic", labelpad=1)


def legend(spec: SweepSpec) -> list[Artist]:
    """Entries of the shared legend: languages, band, instruct model, and the ring at the best w."""
    lines = [
        Line2D([], [], **look(index, spec.palette), label=code.upper()) for index, code in enumerate(spec.languages)
    ]
    dashed = Line2D([], [], color="#555555", linewidth=0.7, linestyle=(0, DASHES), label="instruct")
    band = Patch(color="#555555", alpha=0.15, linewidth=0, label="95% interval")
    return [*lines, band, dashed, Line2D([], [], **RING, markeredgecolor="#555555", label="best w (above each panel)")]
