#!/usr/bin/env python3
"""The command `langmerge run` as a file: `python scripts/run.py --help`."""

from langmerge.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
