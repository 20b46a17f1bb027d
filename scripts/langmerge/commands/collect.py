"""Gather a run's sealed results into scores.csv: one row per score and part of its documents (all,
dev, test).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.errors import UserError
from langmerge.evaluation.sealed import read_sealed
from langmerge.files import write_text
from langmerge.grid.grid import read_run
from langmerge.reporting.scores import collect

NAMED = 5
"""How many missing results a message names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="the run's configuration: a YAML file, or YAML text")
    parser.add_argument(
        "--finished", action="store_true", help="take the results that exist, of a run that is not done"
    )
    parser.add_argument("--output", type=Path, help="the CSV file to write (default: scores.csv of the run)")


def run(options: argparse.Namespace) -> None:
    grid = read_run(options.run)
    paths = existing([result.path for result in grid.results], options.finished)
    table = collect((path, read_sealed(path)) for path in paths)
    write_text(options.output or grid.layout.scores, table.to_csv(index=False))


def existing(paths: list[Path], finished: bool) -> list[Path]:
    """Those of a run's results that exist.

    Raises:
        UserError: some do not, unless `finished`; then: none does.
    """
    missing = [path for path in paths if not path.is_file()]
    if finished and len(missing) == len(paths):
        raise UserError(
            f"none of the run's {len(paths)} results is finished yet. `langmerge status` says how far it is."
        )
    if missing and not finished:
        names = ", ".join(map(str, missing[:NAMED])) + (", ..." if len(missing) > NAMED else "")
        raise UserError(
            f"{len(missing)} of the run's {len(paths)} results are missing: {names}."
            " Run `snakemake` to make them, or take those that exist with --finished."
        )
    return [path for path in paths if path.is_file()]
