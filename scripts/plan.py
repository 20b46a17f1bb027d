#!/usr/bin/env python3
"""The command `langmerge plan` as a file: `python scripts/plan.py --help`."""

from langmerge.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
