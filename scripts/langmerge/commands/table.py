"""Write one of the paper's tables from scores.csv, as CSV (plain numbers), Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.cli import run_command
from langmerge.files import write_text
from langmerge.reporting.scores import read_scores
from langmerge.reporting.tables import LAYOUTS, tabulate, to_latex, to_markdown
from langmerge.yamls import yaml_argument


def main() -> None:
    """Make the table and write its three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, help="scores.csv, as scripts/collect.py writes it")
    layouts = "; ".join(f"{name}: {layout.build.__doc__.splitlines()[0]}" for name, layout in LAYOUTS.items())
    parser.add_argument("--layout", required=True, choices=LAYOUTS, help=layouts)
    parser.add_argument(
        "--spec",
        required=True,
        type=yaml_argument,
        help="what to show, a YAML file or YAML text: languages, backbones; and evaluation_languages, baselines, methods, weights "
        "({each: 1.0, multi: 0.25}, the same by method, or best), criterion (measures by whose mean the layout best chooses w), labels ({backbones: {...}, methods: {...}}), title, caption",
    )
    parser.add_argument("--output", required=True, type=Path, help="path without ending: .csv, .md and .tex are added")
    arguments = parser.parse_args()

    table, caption = tabulate(read_scores(arguments.scores), arguments.layout, arguments.spec)
    contents = {
        "csv": table.data.to_csv(index=False, float_format="%.4f"),
        "md": to_markdown(table, caption),
        "tex": to_latex(table, caption, label=f"tab:{arguments.output.name}"),
    }
    for ending, content in contents.items():
        write_text(arguments.output.with_name(f"{arguments.output.name}.{ending}"), content)


if __name__ == "__main__":
    run_command(main)
