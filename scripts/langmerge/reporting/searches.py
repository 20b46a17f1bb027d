"""The layout searches: what the searches of a run know of each cell."""

from __future__ import annotations

from typing import Any

import pandas as pd

from langmerge.reporting.printing import MISSING, markdown_escape, markdown_paragraph, markdown_table
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import Spec, read_spec
from langmerge.searched import stopped, with_interval

NUMBERS = [f"{name}{end}" for name in ("score", "gap", "slack", "gain") for end in ("", "_low", "_high")]
COLUMNS = ["backbone", "method", "target", "weight", "state", "asked", *NUMBERS]


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(Spec, spec)
    cells = [
        {**{key: record[key] for key in ("backbone", "method", "target")}, **cell}
        for record in sources.searches
        for cell in record["cells"]
    ]
    table = pd.DataFrame(cells, columns=COLUMNS)
    return {"csv": table.to_csv(index=False, float_format="%.6g"), "md": to_markdown(cells, settings)}


def to_markdown(cells: list[dict[str, Any]], spec: Spec) -> str:
    """One row per cell."""
    rows = [
        [
            markdown_escape(spec.label("backbones", cell["backbone"])),
            markdown_escape(spec.label("methods", cell["method"])),
            cell["target"].upper(),
            f"{cell['weight']:g}",
            stopped(cell),
            *(with_interval(cell, name) or MISSING for name in ("score", "gap", "slack", "gain")),
        ]
        for cell in cells
    ]
    header = ["Backbone", "Method", "Target", "w", "State", "Score", "Against the winner", "Kept", "Gain"]
    reading = (
        "Score: the mean of the criterion's measures on the documents of the development half that the cell was asked."
        " Against the winner: on the documents that both were asked. Kept: by how many points the constraint is"
        " satisfied. Gain: over the instruct model, on the other half, of the cells that are found. All with their 95%"
        " intervals. Only a cell that is stopped as worse, or as breaking the constraint, is shown to be so; one that"
        " the budget stops may be as good. The scores of a stopped cell are in no other table."
    )
    title = f"{markdown_paragraph(spec.title)} " if spec.title else ""
    return f"{title}{reading}\n\n{markdown_table(header, rows, 4)}\n"
