"""The figure and the page of a replay."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from langmerge.measures import MEASURES
from langmerge.reporting.figure import OKABE_ITO, figure_files, paper_style
from langmerge.reporting.printing import MISSING, markdown_escape, markdown_table
from langmerge.search.cells import COVERAGE
from langmerge.search.replay import Settings

SEARCH, WHOLE = OKABE_ITO[0], OKABE_ITO[1]


def figure(families: pd.DataFrame) -> dict[str, bytes]:
    """Regret, price and coverage of each family, as a figure's content by file format."""
    with paper_style():
        return figure_files(draw(families))


def draw(families: pd.DataFrame) -> Figure:
    """One line per family, three panels side by side."""
    shape = Figure(figsize=(6.3, 1.2 + 0.22 * len(families)), layout="constrained")
    regret, price, coverage = shape.subplots(1, 3, sharey=True, width_ratios=[2, 1, 1])
    several = families["backbone"].nunique() > 1
    rows = np.arange(len(families))[::-1]
    regret.set_yticks(
        rows,
        [", ".join([*([row.backbone] if several else []), row.method, row.target]) for row in families.itertuples()],
    )
    regret.plot(families["regret"], rows, "o", color=SEARCH, label="search")
    regret.plot(
        families["regret_dev"], rows, "s", color=WHOLE, markerfacecolor="none", label="all documents that choose"
    )
    regret.set_xlim(left=0)
    regret.set_xlabel("mean regret (points)")
    shape.legend(loc="outside upper center", ncols=3)
    price.plot(100 * families["asked"], rows, "o", color=SEARCH)
    price.set_xlim(0, 100)
    price.set_xlabel("documents asked (%)")
    coverage.plot(100 * families["covered"], rows, "o", color=SEARCH)
    coverage.axvline(100 * COVERAGE, color="#888888", linewidth=0.8)
    coverage.set_xlim(min(80, 100 * families["covered"].min() - 2), 101)
    coverage.set_xlabel("coverage (%)")
    return shape


def page(families: pd.DataFrame, cells: pd.DataFrame, settings: Settings, draws: int) -> str:
    """Both tables in Markdown, and how to read them."""
    score = ", ".join(MEASURES[name].title for name in settings.measures)
    kept = (
        f" Cells must keep {100 * settings.at_least:g}% of the instruct model's {MEASURES[settings.constraint].title}."
        if settings.constraint
        else ""
    )
    mean = {name: float(families[name].mean()) for name in ("regret", "regret_dev", "asked", "covered")}
    text = [
        "# What a search would have found",
        f"The score is the mean of {score} in the target languages.{kept} The budget is {100 * settings.budget:g}% of the"
        " documents that the full grid asks, those that report the winner included.",
        f"Over {draws:,} draws of documents: mean regret {mean['regret']:.2f} points ({mean['regret_dev']:.2f} if all cells"
        f" are asked all documents that choose), {100 * mean['asked']:.1f}% of the documents asked, {100 * mean['covered']:.1f}%"
        f" of the winners' {100 * COVERAGE:g}% intervals hold the truth.",
        markdown_table(FAMILY_HEADER, [family_cells(row) for row in families.to_dict("records")], 6),
        "w grid: best on all kept answers; w search: found on them. Difference: the score of the second minus that of the"
        " first on all documents. Gain: the found cell's over the instruct model, on the documents that report. The other"
        " columns are means over the draws. Regret: by how much the best cell exceeds the one that is found, on all kept"
        " answers; grid: found by asking all cells all documents that choose. Lost: the best cell was stopped by a test.",
        "## The cells in the search of the kept answers as they are",
        markdown_table(CELL_HEADER, [cell_cells(row) for row in cells.to_dict("records")], 3),
        "Asked: of the documents that choose. Against the winner: on the documents that both were asked. Gain: over the"
        " instruct model, on the documents that report, of the found cell and of the front. Only a cell that"
        " is stopped as worse, or as breaking the constraint, is shown to be so; one that the budget stops may be as good.",
    ]
    return "\n\n".join(text) + "\n"


FAMILY_HEADER = [
    "Backbone",
    "Method",
    "Target",
    "w grid",
    "w search",
    "Difference",
    "Gain",
    "Regret",
    "Regret, grid",
    "Asked",
    "Coverage",
    "Lost",
    "Found",
]
CELL_HEADER = ["Backbone", "Method", "Target", "w", "State", "Asked", "Against the winner", "Gain"]


def family_cells(row: dict) -> list[str]:
    """One printed row of the first table."""
    names = [markdown_escape(row["backbone"]), markdown_escape(row["method"]), row["target"].upper()]
    weights = [MISSING if pd.isna(row.get(name)) else f"{row[name]:g}" for name in ("w_grid", "w_search")]
    shares = [
        MISSING if pd.isna(row.get(name)) else f"{100 * row[name]:.1f}%"
        for name in ("asked", "covered", "lost", "found")
    ]
    points = [MISSING if pd.isna(row.get(name)) else f"{row[name]:.2f}" for name in ("regret", "regret_dev")]
    return [*names, *weights, with_interval(row, "difference"), with_interval(row, "gain"), *points, *shares]


def cell_cells(row: dict) -> list[str]:
    """One printed row of the second table."""
    names = [markdown_escape(row["backbone"]), markdown_escape(row["method"]), row["target"].upper()]
    return [
        *names,
        f"{row['w']:g}",
        row["state"],
        f"{100 * row['asked']:.0f}%",
        with_interval(row, "gap"),
        with_interval(row, "gain"),
    ]


def with_interval(row: dict, name: str) -> str:
    """A difference and its interval; a dash where it is not known."""
    if pd.isna(row.get(name)):
        return MISSING
    if pd.isna(row[f"{name}_low"]):
        return f"{row[name]:+.1f}"
    return f"{row[name]:+.1f} [{row[f'{name}_low']:+.1f}, {row[f'{name}_high']:+.1f}]"
