"""What every figure shares: its settings, its style and its files."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from matplotlib import style
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure

from langmerge.errors import UserError
from langmerge.measures import MEASURES
from langmerge.reporting.layouts import FIGURE_FORMATS
from langmerge.reporting.specs import Spec, read_spec

OKABE_ITO = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
"""Colours for the colour-blind (Okabe and Ito 2008), without their yellow, which is too light for a
line.
"""

MARKERS = "os^DvPX<>p*h"
DASHES = ["-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5))]
"""Styles of lines, so that lines differ in print without colours too."""

THICK, THIN = 2.0, 0.8
"""Widths of the first and of the last line of a panel: where lines coincide, the lower ones show at
both sides.
"""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "text.parse_math": False,  # a $ in a name is a $
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
METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
"""By format: without the time of drawing, so that the same scores give the same bytes."""

DIGIT, BOLD = 0.636, 0.7
"""Widths of a digit, and of a letter in bold, in STYLE's font, as a share of the font's size."""

PAGE = 9.2
"""Height in inches of what is printed on a page."""

Kind = TypeVar("Kind", bound="FigureSpec")


@dataclass(frozen=True, kw_only=True)
class FigureSpec(Spec):
    """What a figure of scores is told.

    Attributes:
        width, height_per_row: in inches. palette: colours. dpi: of the PNG file. A configuration
            gives these four in the mapping `options`.
    """

    backbone: str
    methods: list[str]
    width: float = 6.3
    height_per_row: float
    palette: list[str] = field(default_factory=lambda: OKABE_ITO)
    dpi: float = 200


def heading(spec: FigureSpec) -> str:
    """What stands above a figure: its title, or the backbone that it shows."""
    return spec.title or spec.label("backbones", spec.backbone)


def check_measures(key: str, names: Iterable[str]) -> None:
    """Refuse names that are no measures, given under this key of a figure's options."""
    if unknown := [name for name in names if name not in MEASURES]:
        raise UserError(f"{key}: {', '.join(unknown)} is unknown; known: {', '.join(MEASURES)}.")


def read_figure_spec(kind: type[Kind], value: dict[str, Any]) -> Kind:
    """A figure's settings, from a spec with a mapping `options`.

    Raises:
        UserError: an unknown key, or a value that cannot be drawn.
    """
    flat = {key: item for key, item in value.items() if key != "options"} | (value.get("options") or {})
    spec = read_spec(kind, flat)
    for key in ("width", "height_per_row", "dpi"):
        size = getattr(spec, key)
        if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < math.inf:
            raise UserError(f"{key}: found {size!r}, expected a number above 0.")
    if not isinstance(spec.palette, list) or not spec.palette or not all(map(is_color_like, spec.palette)):
        raise UserError(f"palette: found {spec.palette!r}, expected a list of colours such as '#0072B2'.")
    return spec


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw with this module's style alone, whatever the user's matplotlibrc says."""
    with style.context(["default", STYLE]):
        yield


def figure_files(figure: Figure, dpi: float = 200) -> dict[str, bytes]:
    """A figure's content by file format; to be called within `paper_style`."""
    files = {}
    for form in FIGURE_FORMATS:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, dpi=dpi, metadata=METADATA[form])
        files[form] = buffer.getvalue()
    return files


def look(index: int, palette: Sequence[str] = OKABE_ITO) -> dict[str, Any]:
    """Colour, marker and style of the line with this index, the same in every panel. They repeat
    together only after 84 lines.
    """
    return {
        "color": palette[index % len(palette)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


def stacked(count: int) -> list[float]:
    """The widths of so many lines that may coincide, the lowest one first."""
    return np.linspace(THICK, THIN, count).tolist()


def weight_labels(weights: Sequence[float], inches: float, font_size: float = STYLE["font.size"]) -> list[str]:
    """The labels of ticks at these weights, ascending; "" where a label would run into the one
    before it.

    Args:
        inches: length of the axis.
    """
    digits = 72 * inches / (DIGIT * font_size)  # that fit side by side
    span = (weights[-1] - weights[0]) * 1.1 or 1.0  # matplotlib leaves a margin of 5% at both ends
    labels: list[str] = []
    last, end = -math.inf, 0.0
    for weight in weights:
        text = f"{weight:g}"
        width = len(text) - 0.5 * text.count(".")
        fits = (weight - last) / span * digits >= (end + width) / 2 + 0.5
        labels.append(text if fits else "")
        last, end = (weight, width) if fits else (last, end)
    return labels
