"""Language score against instruction following: what each merge gains and gives up, and which merges no other one beats in both."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from langmerge.reporting.figures import MARKERS, FigureSpec, weight_text
from langmerge.reporting.scores import Model, Summary, language_score

REFERENCES = {"instruct": "*", "adapted": "X"}
"""The reference models that are shown, and their markers."""

FRONT = {"color": "#CCCCCC", "linewidth": 2.2, "drawstyle": "steps-pre", "zorder": 1.2}
SHORT = {"benchmark": "accuracy", "mt": "BLEU", "ifeval": "IFEval"}
PLACES = [(0, 5), (0, -5), (5, 4), (-5, 4), (5, -4), (-5, -4), (8, 0), (-8, 0), (0, 10), (0, -10)]
"""Where a label may stand from its point, in points of print, the best place first."""


class Point(NamedTuple):
    """A model with both its scores, in percent points."""

    model: Model
    instructions: float
    language: float


def draw_pareto(scores: pd.DataFrame, spec: FigureSpec) -> Figure:
    """Language score against instruction following: a panel a target, a point a model, the Pareto front drawn."""
    shown = (scores["backbone"] == spec.backbone) & scores["method"].isin([*spec.methods, *REFERENCES])
    summary = Summary(scores[shown])
    panels = {target: points(summary, spec, target) for target in targets(summary, spec)}
    rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(spec.width, 1.3 * spec.height_per_row * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    for index, (target, panel) in enumerate(zip(panels, axes.flat, strict=False)):
        draw_panel(panel, spec, panels[target])
        panel.set_title("all languages" if "+" in target else spec.label("languages", target, target.upper()))
        if index % 2 == 0:
            panel.set_ylabel(f"Language ({' and '.join(SHORT[measure] for measure in spec.criterion)}, mean)")
        if index >= len(panels) - 2:
            panel.set_xlabel("Instruction following (IFEval, %)")
    if spec.title:
        figure.suptitle(spec.title, fontsize=8.5)
    if len(panels) % 2:
        axes.flat[-1].set_axis_off()
        axes.flat[-1].legend(handles=legend(spec), loc="center")
    else:
        figure.legend(handles=legend(spec), loc="outside lower center", ncols=6, handlelength=1.8, columnspacing=1.4)
    figure.draw_without_rendering()  # settles where the axes lie, which decides what overlaps
    for target, panel in zip(panels, axes.flat, strict=False):
        label_points(panel, spec, panels[target])
    return figure


def targets(summary: Summary, spec: FigureSpec) -> list[str]:
    """Return each language, then all of them if they were merged together."""
    together = "+".join(sorted(spec.languages))
    merged = any(summary.weights(spec.backbone, method, [together]) for method in spec.methods)
    return [*spec.languages, *([together] if merged and together not in spec.languages else [])]


def points(summary: Summary, spec: FigureSpec, target: str) -> list[Point]:
    """Return the models of one panel that have both scores: instruct, adapted (for one language), and the merges by method and w."""
    languages = target.split("+")
    models = [Model(spec.backbone, "instruct"), Model(spec.backbone, "adapted", target)]
    models += [
        Model(spec.backbone, method, target, w)
        for method in spec.methods
        for w in summary.weights(spec.backbone, method, [target])
    ]
    found = [
        Point(
            model,
            *(language_score(model, summary, measures, languages).mean for measures in (["ifeval"], spec.criterion)),
        )
        for model in models
    ]
    return [point for point in found if not math.isnan(point.instructions + point.language)]


def front(candidates: list[Point]) -> list[Point]:
    """Return the points that no other one equals or beats in both scores, by rising instruction following."""
    best, kept = -math.inf, []
    for point in sorted(candidates, key=lambda point: (-point.instructions, -point.language)):
        if point.language > best:
            best = point.language
            kept.append(point)
    return kept[::-1]


def look(spec: FigureSpec, method: str) -> dict[str, Any]:
    """Return a method's colour and marker, or a reference model's."""
    if method in REFERENCES:
        return {"color": "#222222", "marker": REFERENCES[method], "markersize": 6.5, "linestyle": "none"}
    index = spec.methods.index(method)
    return {
        "color": spec.palette[index % len(spec.palette)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 3.8,
    }


def draw_panel(axes: Axes, spec: FigureSpec, found: list[Point]) -> None:
    """Draw the front, then each method's points joined in the order of w; those that are not on the front are hollow."""
    best = front(found)
    axes.plot([point.instructions for point in best], [point.language for point in best], **FRONT)
    for method in dict.fromkeys(point.model.method for point in found):
        members, style = [point for point in found if point.model.method == method], look(spec, method)
        if method not in REFERENCES:
            axes.plot(
                [p.instructions for p in members],
                [p.language for p in members],
                color=style["color"],
                linewidth=0.5,
                alpha=0.6,
            )
        for point in members:
            fill = style["color"] if point in best or method in REFERENCES else "white"
            axes.plot(point.instructions, point.language, **style, markerfacecolor=fill, markeredgewidth=0.8, zorder=3)
    axes.margins(0.1, 0.14)


def label_points(axes: Axes, spec: FigureSpec, found: list[Point]) -> None:
    """Write each merge's w beside its point, where it covers no other point and no other label; a label without room is left out."""
    scale = axes.figure.dpi / 72
    centres = axes.transData.transform([(point.instructions, point.language) for point in found]) if found else []
    taken = [Bbox.from_bounds(x - 2.2 * scale, y - 2.2 * scale, 4.4 * scale, 4.4 * scale) for x, y in centres]
    for point in found:
        if point.model.method in REFERENCES:
            continue
        text = axes.annotate(
            weight_text(point.model.weight),
            (point.instructions, point.language),
            PLACES[0],
            textcoords="offset points",
            color=look(spec, point.model.method)["color"],
            fontsize=5.5,
            ha="center",
            va="center",
            zorder=4,
        )
        for place in PLACES:
            text.set_position(place)
            box = text.get_window_extent()
            if (
                not any(box.overlaps(other) for other in taken)
                and axes.bbox.containsx(box.x0)
                and axes.bbox.containsx(box.x1)
            ):
                taken.append(box)
                break
        else:
            text.remove()


def legend(spec: FigureSpec) -> list[Line2D]:
    """Return the shared legend's entries: the methods, the reference models, the front."""
    methods = [
        Line2D([], [], linewidth=0.5, **look(spec, method), label=spec.label("methods", method))
        for method in spec.methods
    ]
    references = [Line2D([], [], **look(spec, method), label=method) for method in REFERENCES]
    hollow = Line2D(
        [],
        [],
        color="#555555",
        marker="o",
        markersize=3.8,
        markerfacecolor="white",
        linestyle="none",
        label="beaten in both",
    )
    return [*methods, *references, hollow, Line2D([], [], **FRONT, label="Pareto front")]
