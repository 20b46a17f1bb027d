"""Draw Figure 1 from scores.csv: language and instruction scores against the weight w, a row a method, a column a measure."""

from __future__ import annotations

import argparse
from pathlib import Path

from common import run_command, yaml_argument
from reporting.figures import figure_files, write_figure
from reporting.scores import read_scores


def main() -> None:
    """Draw the figure and write it in each format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, help="scores.csv, as scripts/collect.py writes it")
    parser.add_argument(
        "--spec",
        required=True,
        type=yaml_argument,
        help="what to draw, a YAML file or YAML text: languages, methods, backbone; and measures, weights, labels ({methods: {...}, measures: {...}, "
        "languages: {...}}), title, options ({width, height_per_row: inches, palette: [colours], formats: [pdf, png, svg], dpi})",
    )
    parser.add_argument("--output", required=True, type=Path, help="path without ending: the format's is added")
    arguments = parser.parse_args()

    write_figure(figure_files(read_scores(arguments.scores), arguments.spec), arguments.output)


if __name__ == "__main__":
    run_command(main)
