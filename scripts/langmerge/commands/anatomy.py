#!/usr/bin/env python3
"""Draw the anatomy of a run's merges: by layer and by module, how large the task vectors are, where they collide, and how far each merge went."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from langmerge.cli import run_command
from langmerge.reporting.anatomy import anatomy_files, read_anatomies
from langmerge.reporting.figures import write_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "merges",
        type=Path,
        help="a file with a line of JSON for each merge: {file: what merge.py --anatomy wrote, backbone, method, target, weight, "
        "models: {folder: instruct or the language}}",
    )
    parser.add_argument("--languages", nargs="+", required=True, help="in the order of the legend")
    parser.add_argument("--output", required=True, type=Path, help="path without ending: .pdf, .png and .svg are added")
    options = parser.parse_args()
    records = [json.loads(line) for line in options.merges.read_text(encoding="utf-8").splitlines() if line]
    write_figure(anatomy_files(read_anatomies(records), options.languages), options.output)


if __name__ == "__main__":
    run_command(main)
