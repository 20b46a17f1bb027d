"""Evaluate the models of a batch, one after another: a job of the workflow, which writes the
batch's file.

A cell is merged in the memory of the engine that evaluates it, unless the run says `merges: disk`.
A killed batch continues where it was: the same command does the rest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.commands.evaluate import prepare
from langmerge.live.batch import BatchFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "batch", type=Path, metavar="FILE", help="the batch: results/<run>/batches/<backbone>/<name>.json"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="cores that a merge uses (default: 1)")
    parser.add_argument(
        "--recipes",
        action="store_true",
        help="evaluate nothing: check that the models of each cell fit each other, and write the cells' recipes",
    )


def run(options: argparse.Namespace) -> None:
    if options.recipes:
        from langmerge.live.recipes import write_recipes

        write_recipes(BatchFile.read(options.batch))
        return
    prepare(BatchFile.read(options.batch).backend, options)
    from langmerge.live.family import Family

    Family(options.batch, options.threads).run()
