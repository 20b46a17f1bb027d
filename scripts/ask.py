#!/usr/bin/env python3
"""The command `langmerge ask` as a file: `python scripts/ask.py --help`."""

from langmerge.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
