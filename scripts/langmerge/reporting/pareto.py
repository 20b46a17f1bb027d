"""The layout pareto: language score against instruction following, and the Pareto front of each
target.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from langmerge.measures import CRITERION, MEASURES
from langmerge.model import Model
from langmerge.reporting.figure import FigureSpec, check_measures, figure_files, look, paper_style, read_figure_spec
from langmerge.reporting.sources import Sources
from langmerge.reporting.summary import Summary, language_score

INSTRUCTIONS = "ifeval"
"""The measure of the horizontal axis."""

SHOWN_REFERENCES = {"instruct": "*", "adapted": "X"}
"""The reference models that are shown, and their markers."""

FRONT = {"color": "#CCCCCC", "linewidth": 2.2, "drawstyle": "steps-pre", "zorder": 1.2}
OFFSETS = [(0, 5), (0, -5), (5, 4), (-5, 4), (5, -4), (-5, -4), (10, 0), (-10, 0), (0, 10), (0, -10)]
"""Where a label may be, from its point, in points of print; the preferred one first."""


@dataclass(frozen=True, kw_only=True)
class ParetoSpec(FigureSpec):
    """What the figure is told; `criterion` are the measures whose mean is the language score."""

    criterion: list[str] | tuple[str, ...] = CRITERION


class Point(NamedTuple):
    """A model with both its scores, in points."""

    model: Model
    instructions: float
    language: float


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, bytes]:
    settings = read_figure_spec(ParetoSpec, spec)
    check_measures("criterion", settings.criterion)
    with paper_style():
        return figure_files(draw(sources, settings), settings.dpi)


def draw(sources: Sources, spec: ParetoSpec) -> Figure:
    """One panel per target that has points, two panels per row."""
    scores = sources.scores
    shown = (scores["backbone"] == spec.backbone) & scores["method"].isin([*spec.methods, *SHOWN_REFERENCES])
    summary = Summary(scores[shown])
    panels = {target: points(summary, spec, target) for target in targets(summary, spec)}
    panels = {target: found for target, found in panels.items() if found}
    rows = max(math.ceil(len(panels) / 2), 1)
    figure = Figure(figsize=(spec.width, 1.3 * spec.height_per_row * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    measures = [MEASURES[name].short for name in summary.scored(spec.criterion, spec.languages)]
    for index, (target, panel) in enumerate(zip(panels, axes.flat, strict=False)):
        draw_panel(panel, spec, panels[target])
        panel.set_title("all languages" if len(target) > 1 else target[0].upper())
        if index % 2 == 0:
            panel.set_ylabel(
                f"Language ({' and '.join(measures)}, mean)" if measures[1:] else f"Language ({measures[0]})"
            )
        if index >= len(panels) - 2:
            panel.set_xlabel("Instruction following (IFEval, %)")
    if spec.title:
        figure.suptitle(spec.title, fontsize=8.5)
    for panel in axes.flat[len(panels) :]:
        panel.set_axis_off()
    if not panels:
        axes.flat[0].text(0.5, 0.5, "No model has both scores.", ha="center", transform=axes.flat[0].transAxes)
    if len(panels) % 2 or not panels:
        axes.flat[-1].legend(handles=legend(spec), loc="center")
    else:
        figure.legend(handles=legend(spec), loc="outside lower center", ncols=6, handlelength=1.8, columnspacing=1.4)
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
    """The models of one panel that have both scores: instruct, adapted (one language), and merges
    by method and w.
    """
    models = [Model(spec.backbone, "instruct"), Model(spec.backbone, "adapted", target)]
    for method in spec.methods:
        weights = summary.weights(spec.backbone, method, [target])
        models += [Model(spec.backbone, method, target, weight) for weight in weights]
    found = []
    for model in models:
        instructions = language_score(model, summary, [INSTRUCTIONS], target).mean
        found.append(Point(model, instructions, language_score(model, summary, spec.criterion, target).mean))
    return [point for point in found if not math.isnan(point.instructions + point.language)]


def front(candidates: list[Point]) -> list[Point]:
    """The points that no other equals or beats in both scores, by rising instruction following."""
    best, kept = -math.inf, []
    for point in sorted(candidates, key=lambda point: (-point.instructions, -point.language)):
        if point.language > best:
            best = point.language
            kept.append(point)
    return kept[::-1]


def style_of(spec: ParetoSpec, method: str) -> dict[str, Any]:
    """A method's colour and marker, or a reference model's."""
    if method in SHOWN_REFERENCES:
        return {"color": "#222222", "marker": SHOWN_REFERENCES[method], "markersize": 6.5, "linestyle": "none"}
    return {**look(spec.methods.index(method), spec.palette), "markersize": 3.8}


def draw_panel(axes: Axes, spec: ParetoSpec, found: list[Point]) -> None:
    """The front, then each method's points joined in the order of w; those off the front are
    hollow.
    """
    best = front(found)
    axes.plot([point.instructions for point in best], [point.language for point in best], **FRONT)
    for method in dict.fromkeys(point.model.method for point in found):
        members, style = [point for point in found if point.model.method == method], style_of(spec, method)
        if method not in SHOWN_REFERENCES:
            xs, ys = [point.instructions for point in members], [point.language for point in members]
            axes.plot(xs, ys, color=style["color"], linewidth=0.5, alpha=0.6)
        for point in members:
            fill = style["color"] if point in best or method in SHOWN_REFERENCES else "white"
            axes.plot(point.instructions, point.language, **style, markerfacecolor=fill, markeredgewidth=0.8, zorder=3)
    axes.margins(0.1, 0.14)


def label_points(axes: Axes, spec: ParetoSpec, found: list[Point]) -> None:
    """Write each merge's w beside its point, where it covers no point and no other label; leave it
    out otherwise.
    """
    scale = axes.figure.dpi / 72
    centres = axes.transData.transform([(point.instructions, point.language) for point in found])
    taken = [Bbox.from_bounds(x - 2.2 * scale, y - 2.2 * scale, 4.4 * scale, 4.4 * scale) for x, y in centres]
    for point in found:
        if point.model.method in SHOWN_REFERENCES:
            continue
        text = axes.annotate(
            f"{point.model.weight:g}",
            (point.instructions, point.language),
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
            inside = axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            text.remove()


def legend(spec: ParetoSpec) -> list[Line2D]:
    """Entries of the shared legend: methods, reference models, hollow points, and the front."""
    methods = [
        Line2D([], [], linewidth=0.5, **style_of(spec, method), label=spec.label("methods", method))
        for method in spec.methods
    ]
    references = [Line2D([], [], **style_of(spec, method), label=method) for method in SHOWN_REFERENCES]
    hollow = {"marker": "o", "markersize": 3.8, "markerfacecolor": "white", "linestyle": "none"}
    beaten = Line2D([], [], color="#555555", **hollow, label="beaten in both")
    return [*methods, *references, beaten, Line2D([], [], **FRONT, label="Pareto front")]
