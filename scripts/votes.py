#!/usr/bin/env python3
"""The command `langmerge votes` as a file: `python scripts/votes.py --help`."""

from langmerge.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
