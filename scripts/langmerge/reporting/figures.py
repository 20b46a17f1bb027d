"""Figure 1 of the paper: scores against the weight w, a row of panels a method, a column a measure, a line a language.

What every figure shares is here too: its settings, its style and its files.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from langmerge.errors import UserError
from langmerge.files import write_bytes
from langmerge.reporting.scores import CRITERION, Model, Summary, read_spec

MEASURES = {"benchmark": "Benchmarks (accuracy, %)", "mt": "MT (BLEU)", "ifeval": "IFEval (strict accuracy, %)"}
OKABE_ITO = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
"""Colours that the colour-blind tell apart (Okabe and Ito, 2008), without their yellow, which is too light for a line."""
MARKERS = "os^DvPX"
DASHES = (4, 4)
BEST_PER_LINE = 4
"""How many languages' best w fit side by side above a panel."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.2,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "langmerge",
}
RING = {"linestyle": "none", "marker": "o", "markersize": 7, "markerfacecolor": "none", "markeredgewidth": 0.9}
METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


@dataclass(frozen=True)
class FigureSpec:
    """What the figure shows.

    Without `weights`, a method's w are all those at which one of the languages has a score. `criterion` are the measures whose mean is the
    language score of the layout pareto. The last five are options, which may also
    be given in a mapping `options`: `width` and `height_per_row` in inches, `palette` (colours by language), `formats` and `dpi` (of PNG).
    """

    languages: list[str]
    methods: list[str]
    backbone: str
    measures: list[str] = field(default_factory=lambda: list(MEASURES))
    weights: list[float] = field(default_factory=list)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    title: str = ""
    criterion: list[str] = field(default_factory=lambda: CRITERION)
    width: float = 6.3
    height_per_row: float = 1.75
    palette: list[str] = field(default_factory=lambda: OKABE_ITO)
    formats: list[str] = field(default_factory=lambda: list(METADATA))
    dpi: int = 200

    def label(self, kind: str, name: str, default: str | None = None) -> str:
        """Return how a method, a measure or a language (`kind`: methods, measures, languages) is called in print."""
        return self.labels.get(kind, {}).get(name, default or name)

    def look(self, language: str) -> dict[str, str]:
        """Return a language's colour and marker, the same in every panel."""
        index = self.languages.index(language)
        return {"color": self.palette[index % len(self.palette)], "marker": MARKERS[index % len(MARKERS)]}


def figure_files(
    draw: Callable[[pd.DataFrame, FigureSpec], Figure], scores: pd.DataFrame, spec: dict[str, Any]
) -> dict[str, bytes]:
    """Return by file format what a layout draws; the same scores and spec give the same bytes.

    Raises:
        UserError: an unknown key in the spec, or a value that cannot be drawn.
    """
    settings = checked_spec(spec)
    with paper_style():
        return rendered(draw(scores, settings), settings.formats, settings.dpi)


def rendered(figure: Figure, formats: list[str], dpi: int) -> dict[str, bytes]:
    """Return a figure's content by file format."""
    files = {}
    for form in formats:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, dpi=dpi, metadata=METADATA[form])
        files[form] = buffer.getvalue()
    return files


def write_figure(files: dict[str, bytes], stem: Path) -> None:
    """Write each format's file, whole or not at all; `stem` is their path without ending."""
    for ending, content in files.items():
        write_bytes(stem.with_name(f"{stem.name}.{ending}"), content)


def checked_spec(value: dict[str, Any]) -> FigureSpec:
    """Return the figure's settings.

    Raises:
        UserError: an unknown key, or a value that cannot be drawn.
    """
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key != "options"} | (value.get("options") or {})
    spec: FigureSpec = read_spec(FigureSpec, value)
    for key in ("width", "height_per_row", "dpi"):
        size = getattr(spec, key)
        if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < math.inf:
            raise UserError(f"{key}: found {size!r}, expected a number above 0.")
    for key, known in {
        "languages": None,
        "methods": None,
        "measures": MEASURES,
        "criterion": MEASURES,
        "formats": METADATA,
    }.items():
        names = getattr(spec, key)
        if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
            raise UserError(
                f"{key}: found {names!r}, expected a list of names with at least one. (Quote the words no, on and yes in YAML.)"
            )
        if known and (unknown := [name for name in names if name not in known]):
            raise UserError(f"{key}: {', '.join(unknown)} is unknown; known: {', '.join(known)}.")
    if not isinstance(spec.palette, list) or not spec.palette or not all(map(is_color_like, spec.palette)):
        raise UserError(f"palette: found {spec.palette!r}, expected a list of colours such as '#0072B2'.")
    return spec


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw with this module's style alone, whatever the user's matplotlibrc says."""
    with style.context(["default", STYLE]):
        yield


def draw_sweep(scores: pd.DataFrame, spec: FigureSpec) -> Figure:
    """Scores against w (Figure 1): one panel a method and measure, the y axis shared by a column, the legend below."""
    shown = (scores["backbone"] == spec.backbone) & scores["method"].isin([*spec.methods, "instruct"])
    summary = Summary(scores[shown])
    rows, columns = len(spec.methods), len(spec.measures)
    height = rows * (spec.height_per_row + 0.12 * (best_lines(spec) - 1)) + 0.45
    figure = Figure(figsize=(spec.width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0.03)
    panels = figure.subplots(rows, columns, sharex=True, sharey="col", squeeze=False)
    for method, row in zip(spec.methods, panels, strict=True):
        for measure, axes in zip(spec.measures, row, strict=True):
            draw_panel(axes, summary, spec, method, measure)
        row[0].set_ylabel(spec.label("methods", method), fontweight="bold")
    for measure, axes in zip(spec.measures, panels[0], strict=True):
        axes.set_title(spec.label("measures", measure, MEASURES[measure]), pad=6 + 9 * best_lines(spec))
    label_weights(panels, sorted({weight for method in spec.methods for weight in weights(summary, spec, method)}))
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


def best_lines(spec: FigureSpec) -> int:
    """Return how many lines the best w of all languages take above a panel."""
    return math.ceil(len(spec.languages) / BEST_PER_LINE)


def weights(summary: Summary, spec: FigureSpec, method: str) -> list[float]:
    """Return the w of a method's points, ascending."""
    return sorted(map(float, spec.weights)) or summary.weights(spec.backbone, method, spec.languages)


def draw_panel(axes: Axes, summary: Summary, spec: FigureSpec, method: str, measure: str) -> None:
    """Draw each language's own merges over w with their 95% intervals, its best w, and its instruct model; a missing score leaves a gap."""
    xs = weights(summary, spec, method)
    for index, language in enumerate(spec.languages):
        look = spec.look(language)
        instruct = summary.score(Model(spec.backbone, "instruct"), language, measure)
        if not math.isnan(instruct.mean):
            dashes = (2.0 * index, DASHES)  # shifted, so that equal scores show all their colours
            axes.axhline(instruct.mean, color=look["color"], linewidth=0.7, linestyle=dashes, zorder=1.5)
        points = [summary.score(Model(spec.backbone, method, language, x), language, measure) for x in xs]
        means = [point.mean for point in points]
        axes.plot(xs, means, **look, label=language)
        axes.fill_between(
            xs,
            [point.low for point in points],
            [point.high for point in points],
            color=look["color"],
            alpha=0.09,
            linewidth=0,
        )
        best = best_point(xs, means)
        if best:
            axes.plot(*best, **RING, markeredgecolor=look["color"])
        place = (
            (index % BEST_PER_LINE + 0.5) / BEST_PER_LINE,
            1.04 + 0.1 * (best_lines(spec) - 1 - index // BEST_PER_LINE),
        )
        text = f"{spec.label('languages', language, language.upper())} {weight_text(best[0]) if best else '—'}"
        axes.text(
            *place, text, transform=axes.transAxes, color=look["color"], ha="center", fontsize=6.5, fontweight="bold"
        )
    axes.margins(y=0.08)


def best_point(xs: list[float], means: list[float]) -> tuple[float, float] | None:
    """Return the (w, score) of the highest score, at the smallest w among equals, or None if every score is missing."""
    points = [(x, y) for x, y in zip(xs, means, strict=True) if not math.isnan(y)]
    return max(points, key=lambda point: point[1], default=None)


def weight_text(weight: float) -> str:
    """Return w as the paper prints it: .5, 1, 1.25."""
    return f"{weight:g}".removeprefix("0") or "0"


def label_weights(panels: Any, ticks: list[float]) -> None:
    """Put a tick at every w, and its number where it does not run into the one before it."""
    if not ticks:
        return
    gap, last, texts = 0.09 * (ticks[-1] - ticks[0]), -math.inf, []
    for tick in ticks:
        texts.append(weight_text(tick) if tick - last >= gap else "")
        last = tick if texts[-1] else last
    for axes in panels.flat:
        axes.set_xticks(ticks, texts)
    for axes in panels[-1]:
        axes.set_xlabel("w", fontstyle="italic", labelpad=1)


def legend(spec: FigureSpec) -> list[Artist]:
    """Return the shared legend's entries: the languages, the band, the instruct model, the ring at the best w."""
    lines = [
        Line2D([], [], **spec.look(code), label=spec.label("languages", code, code.upper())) for code in spec.languages
    ]
    dashed = Line2D([], [], color="#555555", linewidth=0.7, linestyle=(0, DASHES), label="instruct")
    band = Patch(color="#555555", alpha=0.15, linewidth=0, label="95% interval")
    return [*lines, band, dashed, Line2D([], [], **RING, markeredgecolor="#555555", label="best w (above each panel)")]
