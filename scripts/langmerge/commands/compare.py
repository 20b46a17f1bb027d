"""Set a run beside a paper: each published number, the run's, the difference, and whether it is within noise, as CSV, Markdown and HTML."""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.cli import run_command
from langmerge.files import write_text
from langmerge.reporting.comparison import compare, to_html, to_markdown
from langmerge.reporting.published import read_published
from langmerge.reporting.scores import read_scores
from langmerge.yamls import yaml_argument


def main() -> None:
    """Make the comparison and write its three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, help="scores.csv, as scripts/collect.py writes it")
    parser.add_argument(
        "published",
        type=Path,
        help="a folder of config/published: tables and published.yaml, which says what they hold",
    )
    parser.add_argument(
        "--labels", type=yaml_argument, default={}, help="a YAML file or YAML text: {backbones: {...}, methods: {...}}"
    )
    parser.add_argument("--output", required=True, type=Path, help="path without ending: .csv, .md and .html are added")
    arguments = parser.parse_args()

    paper = read_published(arguments.published)
    table = compare(paper, read_scores(arguments.scores))
    contents = {
        "csv": table.to_csv(index=False, float_format="%.4f"),
        "md": to_markdown(table, paper, arguments.labels),
        "html": to_html(table, paper, arguments.labels),
    }
    for ending, content in contents.items():
        write_text(arguments.output.with_name(f"{arguments.output.name}.{ending}"), content)


if __name__ == "__main__":
    run_command(main)
