"""Draw a figure from scores.csv: scores against the weight w (sweep, Figure 1), or language against instruction following (pareto)."""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.cli import run_command
from langmerge.reporting.figures import draw_sweep, figure_files, write_figure
from langmerge.reporting.pareto import draw_pareto
from langmerge.reporting.scores import read_scores
from langmerge.yamls import yaml_argument

LAYOUTS = {"sweep": draw_sweep, "pareto": draw_pareto}


def main() -> None:
    """Draw the figure and write it in each format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, help="scores.csv, as scripts/collect.py writes it")
    layouts = "; ".join(f"{name}: {draw.__doc__.splitlines()[0]}" for name, draw in LAYOUTS.items())
    parser.add_argument("--layout", default="sweep", choices=LAYOUTS, help=layouts.replace("%", "%%"))
    parser.add_argument(
        "--spec",
        required=True,
        type=yaml_argument,
        help="what to draw, a YAML file or YAML text: languages, methods, backbone; and measures, weights, labels ({methods: {...}, measures: {...}, "
        "languages: {...}}), criterion (measures whose mean is pareto's language score), title, options ({width, height_per_row: inches, palette: [colours], formats: [pdf, png, svg], dpi})",
    )
    parser.add_argument("--output", required=True, type=Path, help="path without ending: the format's is added")
    arguments = parser.parse_args()

    write_figure(
        figure_files(LAYOUTS[arguments.layout], read_scores(arguments.scores), arguments.spec), arguments.output
    )


if __name__ == "__main__":
    run_command(main)
