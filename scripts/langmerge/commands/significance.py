"""Compare each merge with its instruct model on the same documents, from the answers that the evaluations kept: CSV and Markdown."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from langmerge.cli import run_command
from langmerge.errors import UserError
from langmerge.files import write_text
from langmerge.reporting.significance import Unit, compare, to_markdown, units
from langmerge.reporting.tables import MEASURES
from langmerge.yamls import yaml_argument


def read_units(names: Path) -> list[Unit]:
    """Return the tasks of all results that a file of names lists.

    Raises:
        UserError: a result is missing or not one that evaluate.py wrote.
    """
    found = []
    for line in names.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        try:
            result = json.loads(Path(entry["result"]).read_text(encoding="utf-8"))
            found += units(result, Path(entry["samples"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{entry['result']}: not a result of evaluate.py ({error!r}). Delete it and run again."
            ) from error
    return found


def main() -> None:
    """Make the comparison and write its two files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", type=Path, help='JSON lines: {"result": a sealed result, "samples": the folder of its answers}'
    )
    parser.add_argument(
        "--spec",
        type=yaml_argument,
        default={},
        help="a YAML file or YAML text: title, labels ({backbones: {...}, methods: {...}})",
    )
    parser.add_argument("--output", required=True, type=Path, help="path without ending: .csv and .md are added")
    parser.add_argument("--threads", type=int, default=1, help="processes that read answers")
    arguments = parser.parse_args()

    table = compare(read_units(arguments.names), arguments.threads)
    write_text(
        arguments.output.with_name(f"{arguments.output.name}.csv"), table.to_csv(index=False, float_format="%.6g")
    )
    write_text(arguments.output.with_name(f"{arguments.output.name}.md"), to_markdown(table, arguments.spec, MEASURES))


if __name__ == "__main__":
    run_command(main)
