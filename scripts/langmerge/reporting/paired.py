"""The layout paired: each merge against its instruct model, document by document (statistics:
significance.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from langmerge.measures import MEASURES
from langmerge.reporting.pairing import comparisons, units
from langmerge.reporting.printing import MISSING, markdown_escape, markdown_paragraph, markdown_table
from langmerge.reporting.significance import EXCHANGES, LEVEL, RESAMPLES, compare
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import TableSpec, read_spec

NOT_WORSE = "≥"
"""Marks a merge that is shown to have lost nothing."""


@dataclass(frozen=True, kw_only=True)
class PairedSpec(TableSpec):
    """What the table is told; `margins`: for each measure how many points count as nothing."""

    margins: dict[str, float] = field(default_factory=dict)


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(PairedSpec, spec)
    everything = [unit for answered in sources.answers for unit in units(answered)]
    shown = [unit for unit in everything if unit.model.backbone in settings.backbones]
    table = compare(comparisons(shown, sources.threads), settings.margins)
    return {"csv": table.to_csv(index=False, float_format="%.6g"), "md": to_markdown(table, settings)}


def to_markdown(table: pd.DataFrame, spec: PairedSpec) -> str:
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
        f" {not_worse(spec.margins, shown)}{MISSING}: the answers were not kept, or are to other documents."
    )
    title = f"{markdown_paragraph(spec.title)} " if spec.title else ""
    return f"{title}{reading}\n\n{markdown_table(header, lines)}\n"


def cell(row: dict[str, Any]) -> str:
    """A difference with its interval, marked where it is significant or within the margin."""
    if math.isnan(row["difference"]):
        return MISSING
    star = "\\*" if row["p_holm"] < LEVEL else ""
    kept = NOT_WORSE if row["p_not_worse_holm"] < LEVEL else ""
    return f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]{star}{kept}"


def not_worse(margins: dict[str, float], shown: list[str]) -> str:
    """The sentence that explains the mark NOT_WORSE, "" without margins."""
    known = ", ".join(f"{margins[name]:g} ({MEASURES[name].title})" for name in shown if name in margins)
    if not known:
        return ""
    return (
        f"{NOT_WORSE}: shown to be worse by less than the margin, in points: {known}; one-sided t test of the differences"
        f" between documents, p < {LEVEL:g} after Holm's correction. The CSV file has both one-sided tests. "
    )
