"""Draw the curves of trainings: loss, held-out bits per byte by language, and speed.

A dotted line marks where a training went on after it had been stopped. MODEL is the folder of a
trained model, or that of a training that still runs:

    langmerge curves results/mini/models/mini/adapted/*/* --output curves
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.errors import UserError
from langmerge.files import write_bytes
from langmerge.training.folders import HISTORY, training_folders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="+", type=Path, metavar="MODEL", help="the folder that `langmerge train` writes"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="without ending: a .pdf, a .png and an .svg are written",
    )


def run(options: argparse.Namespace) -> None:
    # Imported late, because matplotlib takes a second, and a wrong path should be reported at once.
    files = {"/".join(model.parts[-3:]): history(model) for model in options.models}
    from langmerge.reporting.curves import make_of

    for ending, content in make_of(files).items():
        write_bytes(options.output.with_name(f"{options.output.name}.{ending}"), content)


def history(model: Path) -> Path:
    """The history of a model, or of its training that still runs.

    Raises:
        UserError: there is neither.
    """
    running = training_folders(model)
    for folder in [model, *running[::-1]]:
        if (folder / HISTORY).is_file():
            return folder / HISTORY
    raise UserError(
        f"{model}: no {HISTORY} is there, and no training of this model is under way. Give a model's folder."
    )
