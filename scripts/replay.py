#!/usr/bin/env python3
"""The command `langmerge report` as a file: `python scripts/report.py --help`."""

from langmerge.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
