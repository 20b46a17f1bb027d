"""The layout sweep (after Figure 1 of the paper): scores against the weight w, with one panel per
language and measure and one line per method.

The intervals of several languages in one panel cannot be told apart; those of the methods can, side
by side.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from langmerge.measures import MEASURES, SHOWN
from langmerge.model import Model
from langmerge.reporting.figure import (
    BOLD,
    DIGIT,
    PAGE,
    FigureSpec,
    check_measures,
    figure_files,
    heading,
    look,
    paper_style,
    read_figure_spec,
    weight_labels,
)
from langmerge.reporting.printing import MISSING
from langmerge.reporting.sources import Sources
from langmerge.reporting.summary import Summary

REFERENCE_LINES = {"instruct": "--", "adapted": ":"}
"""The reference models that are shown, and the styles of their lines."""

GREY = "#555555"
BAND = {"color": GREY, "alpha": 0.12, "linewidth": 0}
"""The interval of the instruct model."""

RING = {"linestyle": "none", "marker": "o", "markersize": 7, "markerfacecolor": "none", "markeredgewidth": 0.9}
LOWEST_ROW = 1.05
"""Inches that a row has at least, also where that makes the figure higher than a page."""

ACROSS, DOWN = 6, 3
"""The most languages side by side, and the most that have a row each, with the measures side by
side.
"""

BEST_FONT = 6


@dataclass(frozen=True, kw_only=True)
class SweepSpec(FigureSpec):
    """What the figure is told; without `measures`, it shows those that have scores."""

    measures: list[str] = field(default_factory=list)
    height_per_row: float = 1.3
    """Less, where the figure would be higher than a page."""


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, bytes]:
    settings = read_figure_spec(SweepSpec, spec)
    check_measures("measures", settings.measures)
    with paper_style():
        return figure_files(draw(sources, settings), settings.dpi)


def draw(sources: Sources, spec: SweepSpec) -> Figure:
    """One panel per language and measure. All panels of a measure have the same y axis."""
    scores = sources.scores
    summary = Summary(
        scores[(scores["backbone"] == spec.backbone) & scores["method"].isin([*spec.methods, *REFERENCE_LINES])]
    )
    measures = spec.measures or [name for name in SHOWN if any(summary.has(code, name) for code in spec.languages)]
    rows = rows_of(spec, measures)
    per_row = min(spec.height_per_row, max((PAGE - 0.6) / max(len(rows), 1), LOWEST_ROW))
    figure = Figure(figsize=(spec.width, len(rows) * per_row + 0.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.03)
    figure.suptitle(heading(spec), fontsize=8.5)
    if not measures:
        figure.text(0.5, 0.5, "No model has a score so far.", ha="center")
        return figure
    grid = figure.subplots(len(rows), max(len(row.cells) for row in rows), squeeze=False)
    numbers = 0.32 if grid.shape[1] == len(measures) else 0.2  # inches of each panel; side by side they share them
    width = spec.width / grid.shape[1] - numbers
    weights = {method: weights_of(sources.models, summary, spec, method) for method in spec.methods}
    ticks = sorted({weight for own in weights.values() for weight in own})
    title_font: dict[str, Any] = {"fontsize": 7}
    if len(spec.languages) > DOWN:
        longest = max(len(spec.label("languages", code)) for code in spec.languages)
        title_font = {"fontsize": min(7.5, 72 * width / (BOLD * longest)), "fontweight": "bold"}
    longest = max(len(line) for row in rows for line in row.label.split("\n"))
    label_size = min(7.5, 72 * per_row / (DIGIT * longest))
    shown: dict[str, list[Axes]] = {}
    for row, panels in zip(rows, grid, strict=True):
        panels[0].set_ylabel(row.label, fontsize=label_size)
        for axes in panels[len(row.cells) :]:
            axes.set_axis_off()
        for (language, measure), title, axes in zip(row.cells, row.titles, panels, strict=False):
            best = draw_panel(axes, summary, spec, language, measure, weights)
            lines = write_best(axes, spec, best, width)
            axes.set_title(title, pad=4 + 8 * lines, **title_font)
            axes.set_xticks(ticks, weight_labels(ticks, width) if ticks else [])
            shown.setdefault(measure, []).append(axes)
    for panels in shown.values():
        limits = np.array([axes.get_ylim() for axes in panels])
        for axes in panels:
            axes.set_ylim(limits.min(), limits.max())
    for row, panels in zip(rows, grid, strict=True):
        for (before, after), axes in zip(itertools.pairwise(row.cells), panels[1:], strict=False):
            axes.tick_params(labelleft=before[1] != after[1])
    for column in grid.T:
        *others, last = [axes for axes in column if axes.axison]
        last.set_xlabel("w", fontstyle="italic", labelpad=1)
        for axes in others:
            axes.tick_params(labelbottom=False)
    entries = legend(spec)
    figure.legend(
        handles=entries,
        loc="outside lower center",
        ncols=math.ceil(len(entries) / math.ceil(len(entries) / 4)),
        handlelength=2.6,
        columnspacing=1.4,
    )
    return figure


class PanelRow(NamedTuple):
    """A row of panels: its label, the (language, measure) of each, and the titles above them."""

    label: str
    cells: list[tuple[str, str]]
    titles: list[str]


def rows_of(spec: SweepSpec, measures: list[str]) -> list[PanelRow]:
    """Few languages have a row each, with the measures side by side. Many are side by side, with a
    row for each measure, and go on below where the page ends.
    """
    names = {code: spec.label("languages", code) for code in spec.languages}
    axes = [MEASURES[measure].axis.replace(" (", "\n(") for measure in measures]
    if len(names) <= DOWN:
        titles = [axes, *[[""] * len(axes)] * (len(names) - 1)]
        cells = [[(code, measure) for measure in measures] for code in names]
        return [PanelRow(*row) for row in zip(names.values(), cells, titles, strict=True)]
    blocks = math.ceil(len(names) / ACROSS)
    size = math.ceil(len(names) / blocks)
    rows = []
    for start in range(0, len(names), size):
        codes = spec.languages[start : start + size]
        for label, measure in zip(axes, measures, strict=True):
            titles = [names[code] if measure == measures[0] else "" for code in codes]
            rows.append(PanelRow(label, [(code, measure) for code in codes], titles))
    return rows


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


def draw_panel(
    axes: Axes, summary: Summary, spec: SweepSpec, language: str, measure: str, weights: dict[str, list[float]]
) -> list[float | None]:
    """Draw each method's merges over w with their 95% intervals side by side, its best w, and the
    reference models.

    A missing score leaves a gap.

    Returns:
        The best w of each method, None where every score is missing.
    """
    targets = {"instruct": (), "adapted": (language,)}
    references = {
        name: summary.score(Model(spec.backbone, name, target), language, measure) for name, target in targets.items()
    }
    for name, score in references.items():
        if not math.isnan(score.mean):
            axes.axhline(score.mean, color=GREY, linewidth=0.8, linestyle=REFERENCE_LINES[name], zorder=1.5)
    if not math.isnan(references["instruct"].low):
        axes.axhspan(references["instruct"].low, references["instruct"].high, **BAND)
    every = sorted({weight for own in weights.values() for weight in own})
    steps = np.diff(every)
    apart = 0.14 * min(steps, default=1.0) * min(1, 4 / len(spec.methods))
    found: list[float | None] = []
    for index, method in enumerate(spec.methods):
        own = look(index, spec.palette)
        points = [
            summary.score(Model(spec.backbone, method, (language,), weight), language, measure)
            for weight in weights[method]
        ]
        means = [point.mean for point in points]
        places = np.array(weights[method]) + apart * (index - (len(spec.methods) - 1) / 2)
        axes.plot(places, means, **own, label=method)
        axes.vlines(places, [point.low for point in points], [point.high for point in points], own["color"], lw=0.7)
        best = best_point(means, MEASURES[measure].higher_is_better)
        if best is not None:
            axes.plot(places[best], means[best], **RING, markeredgecolor=own["color"])
        found.append(None if best is None else weights[method][best])
    if all(weight is None for weight in found) and all(math.isnan(score.mean) for score in references.values()):
        axes.text(0.5, 0.5, "no score", ha="center", va="center", color=GREY, transform=axes.transAxes)
    margin = 0.05 * (every[-1] - every[0]) + 2 * apart if every else 0.5
    axes.set_xlim(min(every, default=0) - margin, max(every, default=1) + margin)
    axes.margins(y=0.08)
    return found


def write_best(axes: Axes, spec: SweepSpec, best: list[float | None], width: float) -> int:
    """Write the best w of each method above a panel, in the order of the legend.

    Returns:
        How many lines that takes.
    """
    font = {"fontsize": BEST_FONT, "annotation_clip": False, "va": "bottom"}
    fitting = int(72 * (width + 0.2) / (DIGIT * BEST_FONT)) - len("best w ")
    per_line = max(fitting // len(" 0.25"), 1)
    lines = math.ceil(len(best) / per_line)
    for start in range(0, len(best), per_line):
        height = 2 + 8 * (lines - 1 - start // per_line)
        label = "" if start else "best w"
        last = axes.annotate(label, (0, 1), (0, height), "axes fraction", "offset points", color=GREY, **font)
        for index in range(start, min(start + per_line, len(best))):
            text = MISSING if best[index] is None else f"{best[index]:g}"
            colour = look(index, spec.palette)["color"]
            last = axes.annotate(text, (1, 0), (4, 0), last, "offset points", color=colour, fontweight="bold", **font)
    return lines


def best_point(means: list[float], higher_is_better: bool) -> int | None:
    """The position of the best score, at the smallest w among equals; None if every score is
    missing.
    """
    known = [index for index, mean in enumerate(means) if not math.isnan(mean)]
    return max(known, key=lambda index: means[index] if higher_is_better else -means[index], default=None)


def legend(spec: SweepSpec) -> list[Artist]:
    """Entries of the shared legend: methods, reference models, their intervals, and the ring at the
    best w.
    """
    lines = [
        Line2D([], [], **look(index, spec.palette), label=spec.label("methods", method))
        for index, method in enumerate(spec.methods)
    ]
    references = [
        Line2D([], [], color=GREY, linewidth=0.8, linestyle=style, label=f"{name} model")
        for name, style in REFERENCE_LINES.items()
    ]
    interval = Line2D([], [], color=GREY, linestyle="none", marker="|", markersize=9, label="95% interval")
    band = Patch(**BAND, label="95% interval of instruct")
    ring = Line2D([], [], **RING, markeredgecolor=GREY, label="best w, above in this order")
    return [*lines, *references, interval, band, ring]
