"""Write the model of a cell as others can use it, and upload it if you say so.

    langmerge publish config/config.yaml --cell mini/linear/eu/w0.5
    langmerge publish config/config.yaml --best eu          # the rule of a table chooses the cell
    langmerge publish config/config.yaml --cell mini/linear/eu/w0.5 --upload organisation/name --dry-run

The cell is merged again by its recipe, and its weights must have the SHA-256 of those that were
evaluated. The folder gets tokenizer, chat template and generation settings of the instruct model,
the files of the licences, and a model card with recipe, scores and limits. It names no path of this
machine. docs/publishing.md says how the licence and the name are found.

A folder that is there is not written again: its weights are compared with the results, and what you
have changed in its card stays. --upload creates the repository unless it is there; after an
interruption, the same command continues. Log in first with `hf auth login` or HF_TOKEN.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from langmerge.commands.collect import answered
from langmerge.commands.merge import cores, threads
from langmerge.errors import UserError
from langmerge.grid.grid import Grid, read_run
from langmerge.model import Model
from langmerge.publishing.licences import agreed, check_name, terms
from langmerge.publishing.parents import parents_of

if TYPE_CHECKING:
    from langmerge.publishing.evidence import Evidence

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run's configuration: a YAML file, or YAML text")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--cell", metavar="ID", help="the cell, such as mini/linear/eu/w0.5")
    which.add_argument(
        "--best",
        nargs="+",
        metavar="LANGUAGE",
        help="the cell that is best on the development half of the documents, of all backbones, methods and weights that merge "
        "these languages in",
    )
    parser.add_argument(
        "--by",
        metavar="TABLE",
        help="the table with the layout best whose rule chooses (criterion and keep; default: the run's first, or the mean of "
        "benchmarks and MT)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="the folder to write (default: results/<run>/published/<cell>)"
    )
    parser.add_argument(
        "--name", help="the model's name in its card (default: that of --upload, or one made from the cell)"
    )
    parser.add_argument(
        "--license", help="the licence of the merge, as the hub writes it, where its models do not settle it"
    )
    parser.add_argument("--upload", metavar="ORGANISATION/NAME", help="upload the folder to this repository of the hub")
    parser.add_argument("--private", action="store_true", help="with --upload: a new repository is private")
    parser.add_argument("--dry-run", action="store_true", help="with --upload: list what would be uploaded, with sizes")
    parser.add_argument("--threads", type=threads, default=cores(), metavar="N", help="cores to use (default: all)")


def run(options: argparse.Namespace) -> None:
    check_options(options)
    grid = read_run(options.run)
    asked = cell_of(grid, options.cell) if options.cell else None
    # Imported late: these take seconds, which a mistake in an argument should not have to wait for.
    # The hub is needed by an upload alone.
    os.environ["HF_HUB_OFFLINE"] = "0" if options.upload else "1"
    from langmerge.publishing.evidence import Evidence, evaluated
    from langmerge.publishing.folder import check_published

    if asked:
        evaluated(grid, asked)  # before the answers of the whole run are read
    evidence = Evidence(grid, answered(grid, True, options.threads), options.by, options.threads)
    cell = asked or evidence.best(options.best)
    output = options.output or grid.layout.published(cell.id)
    if output.exists():
        check_published(output, cell, grid.identity.model_key(cell))
        print(f"{output}: it is there, with the weights of {cell.id}.")
    else:
        write(grid, cell, evidence, output, options)
        print(f"{output}: {cell.id}, with the weights that were evaluated.")
    if options.upload:
        check_name(options.upload.rpartition("/")[2], terms(parents_of(grid, cell)))
        upload(output, options)


def check_options(options: argparse.Namespace) -> None:
    if (options.dry_run or options.private) and not options.upload:
        raise UserError(
            "--dry-run and --private belong to --upload. Add --upload ORGANISATION/NAME, or leave them out."
        )
    if options.upload and not REPOSITORY.fullmatch(options.upload):
        raise UserError(f"--upload {options.upload}: expected organisation/name, in letters, digits, `.`, `_` and `-`.")


def cell_of(grid: Grid, id: str) -> Model:
    """The cell with an id.

    Raises:
        UserError: the run has no such cell.
    """
    model = grid.models.get(id)
    if model is None or not model.is_merge:
        what = "a reference model, not a merge" if model else "no model of the run"
        raise UserError(f"--cell {id}: {what}. Its cells: {', '.join(own.id for own in grid.expansion.merges)}.")
    return model


def write(grid: Grid, cell: Model, evidence: Evidence, output: Path, options: argparse.Namespace) -> None:
    """Write the folder."""
    from langmerge.publishing.card import Card  # it imports huggingface_hub
    from langmerge.publishing.evidence import evaluated
    from langmerge.publishing.folder import write_model

    parents = parents_of(grid, cell)
    licence = agreed(parents, options.license)
    name = options.name or (options.upload or default_name(grid, cell)).rpartition("/")[2]
    check_name(name, terms(parents))

    def card(recipe: str) -> str:
        return Card(grid, cell, name, parents, licence, recipe, evidence, asked=bool(options.cell)).text()

    write_model(grid, cell, parents, evaluated(grid, cell), output, card, options.threads)


def default_name(grid: Grid, cell: Model) -> str:
    """A name that says what the cell is."""
    label = grid.settings.backbone(cell.backbone).get("label", cell.backbone).replace(" ", "-")
    return "-".join([label, *cell.target, cell.method, f"w{cell.weight:g}"])


def upload(folder: Path, options: argparse.Namespace) -> None:
    """Upload the folder, or list its files."""
    from langmerge.publishing import upload as hub

    files = hub.files_of(folder)
    if options.dry_run:
        rows = [*files.items(), ("total", sum(files.values()))]
        print(tabulate(rows, headers=[f"would be uploaded to {options.upload}", "bytes"], intfmt=","))
        return
    print(f"{options.upload}: {hub.upload(folder, options.upload, options.private)}")
