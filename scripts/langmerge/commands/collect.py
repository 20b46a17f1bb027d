"""Gather a run's sealed results into scores.csv: one row per score and part of its documents (all,
dev, test).

Measures that are derived from the answers, such as language fidelity, are computed here. That needs
no model, and is kept for the next call. The win rates of `langmerge votes collect` are added.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.errors import UserError
from langmerge.evaluation.sealed import read_sealed
from langmerge.files import write_text
from langmerge.grid.grid import Grid, read_run
from langmerge.reporting.derived import with_derived
from langmerge.reporting.inputs import Answered, win_rates
from langmerge.reporting.scores import collect

NAMED = 5
"""How many missing results a message names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="the run's configuration: a YAML file, or YAML text")
    parser.add_argument(
        "--finished", action="store_true", help="take the results that exist, of a run that is not done"
    )
    parser.add_argument("--threads", type=int, default=1, help="processes that read answers (default: 1)")
    parser.add_argument("--output", type=Path, help="the CSV file to write (default: scores.csv of the run)")


def run(options: argparse.Namespace) -> None:
    grid = read_run(options.run)
    results = [(one.path, one.result) for one in answered(grid, options.finished, options.threads)]
    table = collect([*results, *win_rates(grid.layout.win_rates, grid.models, grid.evaluated)])
    write_text(options.output or grid.layout.scores, table.to_csv(index=False))


def answered(grid: Grid, finished: bool, threads: int) -> list[Answered]:
    """A run's results, with the scores that are derived from their answers.

    Args:
        finished: take those that exist. threads: processes that read answers.

    Raises:
        UserError: see `existing`; or a result is damaged, or a file does not hold its answers.
    """
    samples = {result.path: result.samples for result in grid.results}
    paths = existing([*samples], finished)
    sealed = [Answered(path, read_sealed(path), samples[path]) for path in paths]
    return with_derived(sealed, answer_languages(grid), grid.tasks.other_language, threads)


def answer_languages(grid: Grid) -> list[str]:
    """The languages that an answer may be in: those of the run, those it translates from, and
    English.
    """
    sources = (source for code in grid.evaluated for source in grid.settings.language(code)["mt_sources"])
    return sorted({*grid.evaluated, *sources, "en"})


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
