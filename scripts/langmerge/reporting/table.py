"""Tables of scores: blocks of rows, with the best score of each column marked, as CSV, Markdown and
LaTeX.

Within a block, the best score of each column is bold and the second best underlined, judged by the
numbers as they are printed; equal scores share their mark.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pandas as pd

from langmerge.measures import MEASURES
from langmerge.reporting.printing import (
    MISSING,
    latex_escape,
    latex_table,
    markdown_escape,
    markdown_paragraph,
    markdown_table,
)
from langmerge.reporting.summary import Score, Summary

SUSPICIOUS = "†"
"""Marks a score whose answers should be looked at."""

NORMAL = 1.96
"""Standard errors in half a 95% interval."""


@dataclass(frozen=True)
class Row:
    """One printed row: its first cells and its scores."""

    names: list[str]
    scores: list[Score]


@dataclass(frozen=True)
class Block:
    """Rows between two rules. The scores of a column compete for bold and underline.

    Attributes:
        measures: of each column of scores.
        across: the scores of a row compete instead.
        unranked: positions of the rows, or `across` of the columns, that do not compete.
    """

    rows: list[Row]
    measures: list[str]
    across: bool = False
    unranked: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table to print.

    Attributes:
        names: headings of the first columns.
        columns: (heading of its group, heading) of each column of scores.
        data: the same numbers for machines.
        notes: sentences that say how to read it.
    """

    names: list[str]
    columns: list[tuple[str, str]]
    blocks: list[Block]
    data: pd.DataFrame
    notes: list[str]

    @property
    def measures(self) -> list[str]:
        """The measures that the table shows, in the order of MEASURES."""
        return [name for name in MEASURES if any(name in block.measures for block in self.blocks)]

    @cached_property
    def digits(self) -> dict[str, int]:
        """How many decimals the scores of each measure are printed with."""
        widths: dict[str, list[float]] = {}
        for block in self.blocks:
            for row in block.rows:
                for measure, score in zip(block.measures, row.scores, strict=True):
                    widths.setdefault(measure, []).append((score.high - score.low) / 2)
        return {measure: decimals(found) for measure, found in widths.items()}


def decimals(half_widths: Sequence[float]) -> int:
    """The decimals that show two significant digits of the median standard error, at most two (as
    the papers print); one where no error is known.

    Args:
        half_widths: of 95% intervals, in points; NaN where one is not known.
    """
    known = [width / NORMAL for width in half_widths if width > 0]
    return min(max(1 - math.floor(math.log10(statistics.median(known))), 0), 2) if known else 1


def marks(block: Block, digits: Mapping[str, int]) -> list[list[int]]:
    """For each row and column: 1 for the best printed score, 2 for the second best, else 0 (also
    without a rival).
    """
    printed = pd.DataFrame(
        [
            [float(f"{score.mean:.{digits[name]}f}") for name, score in zip(block.measures, row.scores, strict=True)]
            for row in block.rows
        ]
    )
    signs = [1 if MEASURES[measure].higher_is_better else -1 for measure in block.measures]
    rated = printed * signs
    rated = rated.T if block.across else rated
    rated.iloc[list(block.unranked)] = math.nan
    ranks = rated.rank(method="dense", ascending=False)
    ranks = ranks.where((ranks <= 2) & (rated.count() > 1), 0).astype(int)
    return (ranks.T if block.across else ranks).to_numpy().tolist()


def numbers(names: Sequence[str], scores: Sequence[Score]) -> dict[str, float]:
    """Columns of the CSV file: the scores' means, and the bounds of their intervals, which `tidy`
    puts last.
    """
    means = {name: score.mean for name, score in zip(names, scores, strict=True)}
    lows = {f"{name}_low": score.low for name, score in zip(names, scores, strict=True)}
    return means | lows | {f"{name}_high": score.high for name, score in zip(names, scores, strict=True)}


def tidy(data: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows of the CSV file, with the intervals' bounds after all other columns."""
    table = pd.DataFrame(data)
    bounds = [name for name in table if name.endswith(("_low", "_high"))]
    printed = [name for name in table if name not in bounds]
    ordered = [f"{name}_{side}" for name in printed for side in ("low", "high")]
    return table[printed + [name for name in ordered if name in bounds]]


# ---- files


def table_files(table: Table, title: str, summary: Summary, name: str) -> dict[str, str]:
    """The table as CSV, Markdown and LaTeX; `name` is the LaTeX label's."""
    text = caption(table, title, summary)
    return {
        "csv": table.data.to_csv(index=False, float_format="%.4f"),
        "md": to_markdown(table, text),
        "tex": to_latex(table, text, f"tab:{name}"),
    }


def caption(table: Table, title: str, summary: Summary) -> str:
    """The title, then how to read the table."""
    compared = "row" if any(block.across for block in table.blocks) else "column and block"
    reading = f"Bold: best of its {compared}; underlined: second best; {MISSING}: no score."
    aside = (
        "Base, adapted and joint models, and baselines, are not ranked."
        if any(block.unranked for block in table.blocks)
        else ""
    )
    sentences = [title, *table.notes, precision(summary, table.measures), reading, aside, suspicion(table)]
    return " ".join(filter(None, sentences))


def suspicion(table: Table) -> str:
    """The sentence that says what is suspicious about the scores with a mark, "" without any."""
    found = {remark for block in table.blocks for row in block.rows for score in row.scores for remark in score.remarks}
    if not found:
        return ""
    return (
        f"{SUSPICIOUS}: look at the answers before you trust the score; there are {', '.join(sorted(found))}"
        " (scores.csv has the shares, in the column remarks)."
    )


def precision(summary: Summary, measures: Sequence[str]) -> str:
    """The sentence that says how wide the 95% intervals of these measures are, "" where none is
    known.
    """
    widths = {MEASURES[measure].title: summary.half_width(measure) for measure in measures}
    known = ", ".join(f"±{width:.1f} ({title})" for title, width in widths.items() if not math.isnan(width))
    return f"The 95% interval of the median score is {known}; the CSV file has that of each score." if known else ""


def to_markdown(table: Table, caption: str) -> str:
    """The table in GitHub's Markdown, below its caption."""
    several = len({group for group, _ in table.columns}) > 1
    headings = [f"{group} {name}" if several else name for group, name in table.columns]
    formats = {1: "**{}**", 2: "<u>{}</u>"}
    printed = partial(printed_rows, digits=table.digits, formats=formats, spread=" ±{}", escape=markdown_escape)
    rows = [row for block in table.blocks for row in printed(block)]
    header = [*table.names, *map(markdown_escape, headings)]
    return f"{markdown_paragraph(caption)}\n\n{markdown_table(header, rows, len(headings))}\n"


def to_latex(table: Table, caption: str, label: str) -> str:
    """The table in LaTeX."""
    formats = {1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}
    spread = r" {{\scriptsize$\pm${}}}"
    blocks = [printed_rows(block, table.digits, formats, spread, latex_escape) for block in table.blocks]
    return latex_table(table.names, table.columns, blocks, caption, label)


def printed_rows(
    block: Block, digits: Mapping[str, int], formats: dict[int, str], spread: str, escape: Callable[[str], str]
) -> list[list[str]]:
    """A block's rows as text; a first name that repeats the row above is left blank.

    Args:
        digits: decimals by measure. formats: of the best (1) and the second best (2) score.
        spread: of a standard deviation.
    """
    rows, above = [], None
    for row, row_marks in zip(block.rows, marks(block, digits), strict=True):
        first = "" if row.names[0] == above else row.names[0]
        above = row.names[0]
        cells = [
            cell_text(score, digits[measure], formats.get(mark, "{}"), spread, escape)
            for measure, score, mark in zip(block.measures, row.scores, row_marks, strict=True)
        ]
        rows.append([*map(escape, [first, *row.names[1:]]), *cells])
    return rows


def cell_text(score: Score, digits: int, mark: str, spread: str, escape: Callable[[str], str]) -> str:
    """One printed cell; `mark` and `spread` are formats of mean and standard deviation."""
    if math.isnan(score.mean):
        return escape(MISSING)
    text = mark.format(f"{score.mean:.{digits}f}") + (escape(SUSPICIOUS) if score.remarks else "")
    return text if math.isnan(score.sd) else text + spread.format(f"{score.sd:.{digits}f}")
