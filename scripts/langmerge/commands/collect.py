#!/usr/bin/env python3
"""Gather sealed evaluation results into one tidy CSV: a row a score and part of its documents (all, dev, test)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from langmerge.cli import run_command
from langmerge.errors import UserError
from langmerge.files import write_text

KEY = ["backbone", "method", "target", "weight", "language", "measure", "task", "seed", "part"]
COLUMNS = [*KEY, "value", "stderr", "n"]


def rows(path: Path) -> list[dict]:
    """The scores of one result file, each with the columns of its cell; those that were split also on the parts of their documents.

    Raises:
        UserError: the file is missing or not a result that evaluate.py wrote.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return [
            {**result["cell"], **score, "part": part, **numbers}
            for score in result["scores"]
            for part, numbers in {"all": {}, **score.get("parts", {})}.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a result of evaluate.py ({error!r}). Delete it and run again: its finished tasks are kept."
        ) from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", type=Path, help="a text file with the path of a result on each line")
    parser.add_argument("output", type=Path, help="the CSV file to write")
    options = parser.parse_args()
    files = [Path(line) for line in options.names.read_text(encoding="utf-8").splitlines() if line]
    table = pd.DataFrame([row for path in files for row in rows(path)], columns=COLUMNS).astype(
        {"seed": "Int64", "n": "Int64"}
    )
    write_text(options.output, table.sort_values(KEY).to_csv(index=False))


if __name__ == "__main__":
    run_command(main)
