"""The layout pareto: a measure of the language against instruction following, and the Pareto front
of each target.

Each axis is one measure in its own unit, because a mean of, say, accuracy and BLEU has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from langmerge.measures import MEASURES
from langmerge.model import Model
from langmerge.reporting.figure import (
    FigureSpec,
    check_measures,
    figure_files,
    heading,
    look,
    paper_style,
    read_figure_spec,
)
from langmerge.reporting.sources import Sources
from langmerge.reporting.summary import Score, Summary, language_score

INSTRUCTIONS = "ifeval"
"""The measure of the horizontal axis."""

SHOWN_REFERENCES = {"instruct": "*", "adapted": "X"}
"""The reference models that are shown, and their markers."""

FRONT = {"color": "#CCCCCC", "linewidth": 2.2, "drawstyle": "steps-pre", "zorder": 1.2}
INTERVAL = {"fmt": "none", "ecolor": "#999999", "elinewidth": 0.7, "zorder": 1.1}
OFFSETS = [(0, 5), (0, -5), (6, 4), (-6, 4), (6, -4), (-6, -4), (9, 0), (-9, 0), (0, 9), (0, -9)]
"""Where a label may be, from its point, in points of print; the preferred one first."""


@dataclass(frozen=True, kw_only=True)
class ParetoSpec(FigureSpec):
    """What the figure is told; `measure` is that of the vertical axis."""

    measure: str = "benchmark"
    height_per_row: float = 1.9


class Point(NamedTuple):
    """A model with both its scores, in points; NaN where one is missing."""

    model: Model
    instructions: Score
    language: Score

    @property
    def xy(self) -> tuple[float, float]:
        return self.instructions.mean, self.language.mean

    @property
    def is_known(self) -> bool:
        """Whether it has both scores."""
        return not math.isnan(sum(self.xy))


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, bytes]:
    settings = read_figure_spec(ParetoSpec, spec)
    check_measures("measure", [settings.measure])
    with paper_style():
        return figure_files(draw(sources, settings), settings.dpi)


def draw(sources: Sources, spec: ParetoSpec) -> Figure:
    """One panel per target that has points, all with the same axes."""
    scores = sources.scores
    shown = (scores["backbone"] == spec.backbone) & scores["method"].isin([*spec.methods, *SHOWN_REFERENCES])
    summary = Summary(scores[shown])
    every = {target: points(summary, spec, target) for target in targets(summary, spec)}
    panels = {target: found for target, own in every.items() if (found := [point for point in own if point.is_known])}
    merges = [point for own in every.values() for point in own if point.model.is_merge]
    lacking = sum(not point.is_known for point in merges)
    columns = max(math.ceil(math.sqrt(len(panels))), 1)
    rows = max(math.ceil(len(panels) / columns), 1)
    height = rows * min(spec.height_per_row, spec.width / columns) + 0.7
    figure = Figure(figsize=(spec.width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.03, hspace=0.03)
    figure.suptitle(
        f"{heading(spec)}\nNot shown: {lacking} of {len(merges)} merges, which lack one of the scores"
        if lacking and panels
        else heading(spec),
        fontsize=8.5,
    )
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for target, panel in zip(panels, axes.flat, strict=False):
        draw_panel(panel, spec, panels[target])
        name = "All languages, one merge" if len(target) > 1 else spec.label("languages", target[0])
        panel.set_title(name, fontsize=7.5, fontweight="bold")
    for panel in axes.flat[len(panels) :]:
        panel.set_axis_off()
    for panel in axes.flat[max(len(panels) - columns, 0) : len(panels)]:
        panel.tick_params(labelbottom=True)  # also where there is no panel below in the last row
        panel.set_xlabel(MEASURES[INSTRUCTIONS].axis.replace(" (", "\n("))
    for panel in axes[:, 0]:
        panel.set_ylabel(MEASURES[spec.measure].axis.replace(" (", "\n("))
    if panels:
        figure.legend(handles=legend(spec), loc="outside lower center", ncols=4, handlelength=2.4, columnspacing=1.4)
    else:
        figure.text(0.5, 0.5, "No model has both scores.", ha="center")
    figure.draw_without_rendering()  # settles where the axes are, which decides what overlaps
    for target, panel in zip(panels, axes.flat, strict=False):
        label_points(panel, spec, panels[target])
    return figure


def targets(summary: Summary, spec: ParetoSpec) -> list[tuple[str, ...]]:
    """Each language, then all of them if they were merged together."""
    each = [(language,) for language in spec.languages]
    together = tuple(sorted(spec.languages))
    merged = any(summary.weights(spec.backbone, method, [together]) for method in spec.methods)
    return [*each, *([together] if merged and together not in each else [])]


def points(summary: Summary, spec: ParetoSpec, target: tuple[str, ...]) -> list[Point]:
    """The models of one panel: instruct, adapted (one language), and merges by method and w."""
    models = [Model(spec.backbone, "instruct"), Model(spec.backbone, "adapted", target)]
    for method in spec.methods:
        weights = summary.weights(spec.backbone, method, [target])
        models += [Model(spec.backbone, method, target, weight) for weight in weights]
    scores = [
        [language_score(model, summary, [name], target) for name in (INSTRUCTIONS, spec.measure)] for model in models
    ]
    return [Point(model, *both) for model, both in zip(models, scores, strict=True)]


def front(candidates: list[Point]) -> list[Point]:
    """The points that no other equals or beats in both scores, by rising instruction following."""
    best, kept = -math.inf, []
    for point in sorted(candidates, key=lambda point: tuple(-value for value in point.xy)):
        if point.language.mean > best:
            best = point.language.mean
            kept.append(point)
    return kept[::-1]


def style_of(spec: ParetoSpec, method: str) -> dict[str, Any]:
    """A method's colour, marker and line, or a reference model's."""
    if method in SHOWN_REFERENCES:
        return {"color": "#222222", "marker": SHOWN_REFERENCES[method], "markersize": 6.5, "linestyle": "none"}
    return {**look(spec.methods.index(method), spec.palette), "markersize": 3.8, "linewidth": 0.7}


def draw_panel(axes: Axes, spec: ParetoSpec, found: list[Point]) -> None:
    """The front, then each method's points joined in the order of w; those off the front are
    hollow. The instruct model has its intervals: those of the others are about as wide.
    """
    best = front(found)
    axes.plot(*zip(*(point.xy for point in best), strict=True), **FRONT)
    for method in dict.fromkeys(point.model.method for point in found):
        members, style = [point for point in found if point.model.method == method], style_of(spec, method)
        if method not in SHOWN_REFERENCES:
            axes.plot(*zip(*(point.xy for point in members), strict=True), **{**style, "marker": ""})
        for point in members:
            fill = style["color"] if point in best or method in SHOWN_REFERENCES else "white"
            axes.plot(*point.xy, **style, markerfacecolor=fill, markeredgewidth=0.8, zorder=3)
        if method == "instruct":
            x, y = ([[score.mean - score.low], [score.high - score.mean]] for score in members[0][1:])
            axes.errorbar(*members[0].xy, y, x, **INTERVAL)
    axes.margins(0.1, 0.14)


def label_points(axes: Axes, spec: ParetoSpec, found: list[Point]) -> None:
    """Write each merge's w beside its point, where it covers no point, no line and no other label;
    leave it out otherwise. Those on the front and at the ends of a line come first.
    """
    scale = axes.figure.dpi / 72
    centres = axes.transData.transform([point.xy for point in found])
    taken = [Bbox.from_bounds(x - 2.2 * scale, y - 2.2 * scale, 4.4 * scale, 4.4 * scale) for x, y in centres]
    drawn = [line.get_path().interpolated(40).transformed(axes.transData).vertices for line in axes.lines]
    lines = np.concatenate([vertices for vertices in drawn if len(vertices) > 1] or [centres])
    merges = [point for point in found if point.model.is_merge]
    ends = [
        members[place].model
        for method in spec.methods
        if (members := [point for point in merges if point.model.method == method])
        for place in (0, -1)
    ]
    best = front(found)
    for point in sorted(merges, key=lambda point: (point not in best, point.model not in ends)):
        text = axes.annotate(
            f"{point.model.weight:g}",
            point.xy,
            OFFSETS[0],
            textcoords="offset points",
            color=style_of(spec, point.model.method)["color"],
            fontsize=5.5,
            ha="center",
            va="center",
            zorder=4,
        )
        for offset in OFFSETS:
            text.set_position(offset)
            box = text.get_window_extent()
            inside = all(axes.bbox.contains(*corner) for corner in box.corners())
            if inside and not any(box.overlaps(other) for other in taken) and not box.count_contains(lines):
                taken.append(box)
                break
        else:
            text.remove()


def legend(spec: ParetoSpec) -> list[Line2D]:
    """Entries of the shared legend: methods, reference models, hollow points, and the front."""
    methods = [Line2D([], [], **style_of(spec, method), label=spec.label("methods", method)) for method in spec.methods]
    references = [Line2D([], [], **style_of(spec, method), label=f"{method} model") for method in SHOWN_REFERENCES]
    hollow = {"marker": "o", "markersize": 3.8, "markerfacecolor": "white", "linestyle": "none"}
    beaten = Line2D([], [], color="#555555", **hollow, label="beaten in both scores")
    interval = Line2D(
        [], [], color=INTERVAL["ecolor"], linestyle="none", marker="+", markersize=8, label="95% intervals"
    )
    return [*methods, *references, beaten, Line2D([], [], **FRONT, label="Pareto front"), interval]
