"""Say whether an instruct model was trained from a base model, before anything is merged.

    langmerge outlook --base models/base --instruct models/instruct    # two folders
    langmerge outlook config/config.yaml                               # of each backbone of a run
    langmerge outlook config/config.yaml --instruct models/new         # a new model and the run's base

Every weight is read once. The table shows, for each kind of weight, the share that is equal, the
norm and the change of the instruct model as shares of the base's norm, and the cosine between the
two. Told apart are: a child, the same model twice, an unrelated model of the same shape, a model
whose neurons were reordered, and another architecture. Which of two related models was there first
cannot be told from weights. The exit status is 0 for a child, and 1 for anything else.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from langmerge.errors import UserError
from langmerge.grid.grid import read_run
from langmerge.model import Model

if TYPE_CHECKING:
    from langmerge.merging.outlook import Compared, Outlook

NAMED = 5
"""Tensors of one model only that are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run's configuration: a YAML file, or YAML text")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="the base model (default: that of the run)")
    parser.add_argument("--instruct", type=Path, metavar="FOLDER", help="the instruct model (default: that of the run)")


def run(options: argparse.Namespace) -> None:
    found = list(pairs(options))
    # Imported late: numba takes half a second, and --help should not.
    from langmerge.merging.outlook import CHILD, outlook

    verdicts = []
    for base, instruct in found:
        result = outlook(base, instruct)
        print(described(base, instruct, result))
        verdicts.append(result.verdict)
    if {*verdicts} != {CHILD}:
        sys.exit(1)


def pairs(options: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """The base and the instruct model of each comparison.

    Raises:
        UserError: neither a run nor an option names one of them.
    """
    if options.base and options.instruct:
        yield options.base, options.instruct
        return
    if not options.run:
        raise UserError("name a run, or both models: --base FOLDER --instruct FOLDER.")
    grid = read_run(options.run)
    backbones = [name for name in grid.settings.backbones if options.base or grid.sources.has(name, "base")]
    if not backbones:
        raise UserError(f"no backbone of {options.run} has a base model. Name one: --base FOLDER.")
    for name in backbones:
        base = options.base or grid.layout.model(Model(name, "base"))
        yield base, options.instruct or grid.layout.model(Model(name, "instruct"))


def described(base: Path, instruct: Path, result: Outlook) -> str:
    """The table and the verdict."""
    from langmerge.merging.outlook import MEANING

    modules: dict[str, list[Compared]] = {}
    for own in result.compared:
        modules.setdefault(own.module, []).append(own)
    headings = ["weights", "tensors", "equal", "norm", "change", "cosine", "lowest cosine"]
    lines = [f"{instruct}, compared with {base}:"]
    if modules:
        table = [row(name, own) for name, own in modules.items()]
        lines.append(tabulate(table, headings, floatfmt=("", "", ".3f", ".3f", ".3f", ".4f", ".4f")))
    if result.only:
        more = f" and {len(result.only) - NAMED} more" if len(result.only) > NAMED else ""
        lines.append(f"Not compared (in one model only, or of another shape): {', '.join(result.only[:NAMED])}{more}.")
    if result.moved:
        lines.append(f"Of some rows or columns of the base, {100 * result.moved:.0f}% are at another place.")
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join([*lines, f"Verdict: {result.verdict}: {MEANING[result.verdict]}."])


def row(name: str, compared: list[Compared]) -> list[str | int | float]:
    """The medians over the tensors of one kind."""
    cosines = [own.cosine for own in compared]
    medians = [statistics.median(getattr(own, column) for own in compared) for column in ("equal", "norm", "change")]
    return [name, len(compared), *medians, statistics.median(cosines), min(cosines)]
