#!/usr/bin/env python3
"""The command `langmerge outlook` as a file: `python scripts/outlook.py --help`."""

from langmerge.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
