"""Write the model of a finished training as a folder in Hugging Face format.

A training in one process does this by itself. One in many leaves it to this command, which needs
one CPU and, in memory, the model in the type that it is saved in. OUTPUT is the training's own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.errors import UserError
from langmerge.offline import go_offline
from langmerge.training.folders import training_folders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the model's folder, replaced if it exists")


def run(options: argparse.Namespace) -> None:
    folders = training_folders(options.output)
    if not folders:
        raise UserError(f"{options.output}: no training of this model was found beside it. Train it first.")
    go_offline()
    from langmerge.training.export import export

    export(folders[-1], options.output)
