"""The layout paired: each merge against its instruct model, document by document (statistics:
significance.py).
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from langmerge.measures import MEASURES
from langmerge.reporting.printing import MISSING, markdown_escape, markdown_paragraph, markdown_table
from langmerge.reporting.significance import EXCHANGES, RESAMPLES, compare, units
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import TableSpec, read_spec

LEVEL = 0.05
"""p below which a difference is marked."""


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(TableSpec, spec)
    everything = [unit for answered in sources.answers for unit in units(answered)]
    table = compare([unit for unit in everything if unit.model.backbone in settings.backbones], sources.threads)
    return {"csv": table.to_csv(index=False, float_format="%.6g"), "md": to_markdown(table, settings)}


def to_markdown(table: pd.DataFrame, spec: TableSpec) -> str:
    """One row per merge and language, one column per measure."""
    shown = [name for name in MEASURES if name in set(table["measure"])]
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for row in table.to_dict("records"):
        first = (
            spec.label("backbones", row["backbone"]),
            spec.label("methods", row["method"]),
            row["target"].upper(),
            f"{row['weight']:g}",
            row["language"].upper(),
        )
        rows.setdefault(first, {})[row["measure"]] = cell(row)
    lines = [
        [*map(markdown_escape, first), *(cells.get(measure, "") for measure in shown)] for first, cells in rows.items()
    ]
    header = ["Backbone", "Method", "Target", "w", "Language", *(MEASURES[name].title for name in shown)]
    reading = (
        "Each merge compared with its instruct model on the same documents: difference in points and its 95% interval"
        f" (paired bootstrap, {RESAMPLES:,} resamples). \\*: p < {LEVEL:g} in a paired randomisation test with"
        f" {EXCHANGES:,} exchanges, corrected by Holm's method over the merges in the same language and measure."
        f" {MISSING}: the answers were not kept, or are to other documents."
    )
    title = f"{markdown_paragraph(spec.title)} " if spec.title else ""
    return f"{title}{reading}\n\n{markdown_table(header, lines)}\n"


def cell(row: dict[str, Any]) -> str:
    """A difference with its interval, marked where it is significant."""
    if math.isnan(row["difference"]):
        return MISSING
    star = "\\*" if row["p_holm"] < LEVEL else ""
    return f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]{star}"
