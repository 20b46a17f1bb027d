"""Blind votes: native speakers read two answers without names and say which is better.

`make` writes one HTML page for them, which works from a file without a server, and beside it the
key that tells whose answers it shows. Keep the key to yourself. `collect` takes the files that they
save there, and writes the win rates of the cells as a table and a figure, and for scores.csv.

Examples:
    langmerge votes make config/config.yaml --language eu --cells mini/linear/eu/w0.5 mini/linear/eu/w1
    langmerge votes collect config/config.yaml votes-*.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.errors import UserError
from langmerge.evaluation.sealed import read_sealed
from langmerge.faults import nearest
from langmerge.files import write_bytes, write_json, write_text
from langmerge.grid.grid import Grid, read_run
from langmerge.measures import VOTES
from langmerge.reporting.ballot import ballot
from langmerge.reporting.inputs import Answered, win_rates
from langmerge.reporting.scores import PARTS
from langmerge.reporting.votes import rates, results
from langmerge.reporting.votes_files import read_keys, read_votes
from langmerge.reporting.votes_shown import figure, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    make = actions.add_parser("make", help="write the page for voters")
    make.add_argument("run", help="the run's configuration: a YAML file, or YAML text")
    make.add_argument("--language", required=True, metavar="CODE", help="the language of the answers")
    make.add_argument("--cells", required=True, nargs="+", metavar="ID", help="ids of two or more models of the run")
    make.add_argument("--prompts", type=int, metavar="N", help="how many prompts (default: all)")
    collect = actions.add_parser("collect", help="from the votes to win rates")
    collect.add_argument("run", help="the run's configuration: a YAML file, or YAML text")
    collect.add_argument("votes", nargs="+", type=Path, metavar="FILE", help="files that voters saved")


def run(options: argparse.Namespace) -> None:
    grid = read_run(options.run)
    (make if options.action == "make" else collect)(grid, options)


def make(grid: Grid, options: argparse.Namespace) -> None:
    """Write a page and its key."""
    if options.language not in grid.evaluated:
        raise UserError(f"--language {options.language}: this run is evaluated in {', '.join(grid.evaluated)}.")
    cells = list(dict.fromkeys(options.cells))
    if len(cells) < 2:
        raise UserError(f"--cells: found {', '.join(cells)}, expected the ids of two or more different models.")
    for cell in cells:
        if cell not in grid.models:
            raise UserError(f"--cells: {cell} is not in this run.{nearest(cell, grid.models)}")
    answered: dict[str, list[Answered]] = {cell: [] for cell in cells}
    for result in grid.results:
        if result.model.id in answered and result.path.is_file():
            answered[result.model.id].append(Answered(result.path, read_sealed(result.path), result.samples))
    name = grid.settings.language(options.language)["name"]
    made = ballot(grid.config["run"], options.language, name, answered, options.prompts)
    page, key = grid.layout.votes / f"{made.name}.html", grid.layout.votes_key(made.name)
    write_text(page, made.html)
    write_json(key, made.key)
    number, equal = len(made.key["items"]), len(made.key["identical"])
    same = f" Not shown, and counted as ties: {equal} with equal answers." if equal else ""
    print(
        f"Written: {page}, for voters: {number} pairs of answers.{same}\nKeep to yourself: {key}, which tells whose answers they are."
    )


def collect(grid: Grid, options: argparse.Namespace) -> None:
    """Write the win rates for scores.csv, and their table and figure."""
    keys = read_keys(sorted(grid.layout.votes.glob(grid.layout.votes_key("*").name)))
    found = rates(keys, read_votes(options.votes, keys))
    names = {code: grid.settings.language(code)["name"] for code in grid.evaluated}
    files = table(found, names, grid.run_reports.labels) | figure(found, names, grid.run_reports.labels)
    for ending, content in files.items():
        kind = "figure" if isinstance(content, bytes) else "table"
        path = grid.layout.report(kind, VOTES).with_suffix(f".{ending}")
        write_bytes(path, content if isinstance(content, bytes) else content.encode())
        print(f"Written: {path}")
    before = win_rates(grid.layout.win_rates, grid.models, grid.evaluated)
    write_json(grid.layout.win_rates, {"results": results(found)})
    print(f"Written: {grid.layout.win_rates}, for scores.csv. Run `snakemake`: it makes tables and figures again.")
    languages = dict.fromkeys(rate.language for rate in found)
    if gone := {score["language"] for _, one in before for score in one["scores"]} - {*languages}:
        print(f"No votes any more in {', '.join(sorted(gone))}: name the files of all languages in one call.")
    for language in languages:
        known = next(rate.parts for rate in found if rate.language == language)
        if missing := [part for part in PARTS if part not in known]:
            print(
                f"{language}: no win rates on the half {' and '.join(missing)}, whose votes do not connect all cells."
            )
