"""Text in Markdown and LaTeX: escaping, and tables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pandas as pd

MISSING = "—"
"""What a cell without a score shows."""

LATEX_ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        MISSING: "---",
        "†": r"$\dagger$",
    }
)


def one_line(text: str) -> str:
    """A text without line breaks, which would end a row of a table."""
    return " ".join(text.split())


def latex_escape(text: str) -> str:
    """A text that LaTeX prints as it is."""
    return one_line(text).translate(LATEX_ESCAPES)


def markdown_escape(text: str) -> str:
    """A text that Markdown prints as it is, within a line or a cell of a table."""
    return re.sub(r"([\\`*_{}\[\]<>|~&$])", r"\\\1", one_line(text))


def markdown_paragraph(text: str) -> str:
    """A text that Markdown prints as it is, as a paragraph: it starts no heading and no list."""
    escaped = markdown_escape(text)
    return re.sub(r"^(\d*)([.)#+=-])", lambda start: f"{start[1]}\\{start[2]}", escaped)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> str:
    """A Markdown table of cells that are escaped already; the last `numbers` columns are aligned to
    the right.
    """
    align = ["left"] * (len(header) - numbers) + ["right"] * numbers
    frame = pd.DataFrame(rows, columns=header)
    return frame.to_markdown(index=False, disable_numparse=True, colalign=align if len(frame) else None)


def latex_table(
    names: Sequence[str],
    columns: Sequence[tuple[str, str]],
    blocks: Sequence[Sequence[Sequence[str]]],
    caption: str,
    label: str,
) -> str:
    """A table of two-column width with booktabs rules, its groups of columns under common headings.

    Args:
        names: headings of the first columns.
        columns: (group, heading) of the others.
        blocks: rows of cells that are escaped already; rules separate blocks.
        caption: is escaped here.
    """
    first, groups, rules = len(names) + 1, [], []
    for group, members in itertools.groupby(columns, key=lambda column: column[0]):
        last = first + len(list(members)) - 1
        groups.append(rf"\multicolumn{{{last - first + 1}}}{{c}}{{{latex_escape(group)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
        first = last + 1

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering\small",
        rf"\begin{{tabular}}{{@{{}}{'l' * len(names)}{'r' * len(columns)}@{{}}}}",
        r"\toprule",
        line([*[""] * len(names), *groups]),
        " ".join(rules),
        line([*names, *(latex_escape(name) for _, name in columns)]),
        r"\midrule",
        "\n\\midrule\n".join("\n".join(map(line, rows)) for rows in blocks),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{latex_escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\end{table*}",
        "",
    ]
    return "\n".join(lines)
