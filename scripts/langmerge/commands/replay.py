"""Say what a search for the best weight would have found in a finished run, and at what price.

The kept answers stand in for the models: nothing is merged and nobody is asked. Every method and
target with several weights is searched, first as the answers are, then on documents that are drawn
from them with replacement, so that the truth is known:

    langmerge replay config/config.yaml
    langmerge replay config/config.yaml --measures benchmark mt --keep ifeval --at-least 0.9

Written into the folder `replay` of the run: families.csv, cells.csv, replay.md, and the figure as
replay.pdf, .png and .svg. docs/results.md says how to read them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.commands.collect import answered
from langmerge.errors import UserError
from langmerge.files import write_bytes, write_text
from langmerge.grid.grid import read_run
from langmerge.measures import CRITERION, TASKED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="the run's configuration: a YAML file, or YAML text")
    parser.add_argument(
        "--finished", action="store_true", help="take the results that exist, of a run that is not done"
    )
    parser.add_argument(
        "--measures",
        nargs="+",
        choices=TASKED,
        default=list(CRITERION),
        metavar="MEASURE",
        help=f"those whose mean is the score: {', '.join(TASKED)} (default: {' '.join(CRITERION)})",
    )
    parser.add_argument("--keep", choices=TASKED, default="", metavar="MEASURE", help="a measure that must be kept")
    parser.add_argument(
        "--at-least",
        type=float,
        default=0.9,
        metavar="SHARE",
        help="with --keep: this share of the instruct model's (default: %(default)s)",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=0.35,
        metavar="SHARE",
        help="share of the full grid's documents that a search may ask, those that report its winner included (default: %(default)s)",
    )
    parser.add_argument(
        "--draws", type=int, default=1000, metavar="N", help="how often documents are drawn (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: the folder `replay` of the run")


def run(options: argparse.Namespace) -> None:
    from langmerge.reporting.pairing import comparisons, units
    from langmerge.search.replay import Settings, families, replay
    from langmerge.search.report import figure, page

    if options.draws < 1:
        raise UserError(f"--draws {options.draws}: expected a number above 0.")
    grid = read_run(options.run)
    everything = [unit for one in answered(grid, options.finished, options.threads) for unit in units(one)]
    settings = Settings(tuple(options.measures), options.keep, options.at_least, options.budget)
    found = families(comparisons(everything, options.threads), settings)
    if not found:
        raise UserError(
            f"{grid.layout.root}: no method has three weights or more whose answers to {', '.join(options.measures)} are kept,"
            " so there is nothing to search."
        )
    summary, cells = replay(found, options.budget, options.draws, options.threads)
    folder = options.output or grid.layout.replay
    for name, table in (("families", summary), ("cells", cells)):
        write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    write_text(folder / "replay.md", page(summary, cells, settings, options.draws))
    for ending, content in figure(summary).items():
        write_bytes(folder / f"replay.{ending}", content)
