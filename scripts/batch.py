#!/usr/bin/env python3
"""The command `langmerge batch` as a file: `python scripts/batch.py --help`."""

from langmerge.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
