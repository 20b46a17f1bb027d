"""How long a job takes: as measured in this run, else as the backbone's file says. Pure Python, no torch."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean

from langmerge.grid.grid import Grid


def hours(grid: Grid, rule: str, backbone: str = "") -> tuple[float | None, bool]:
    """Hours that a job of a rule takes, and whether they were measured.

    Measured: the mean over the run's finished jobs of that rule and backbone (their `benchmark:` files; without a backbone, for
    `corpus`). Else `hours` of config/backbones/<backbone>.yaml, and None where that says nothing.
    """
    measured = [time for path in (grid.root / "benchmarks" / rule / backbone).glob("*.tsv") for time in seconds(path)]
    if measured:
        return fmean(measured) / 3600, True
    return (grid.backbone(backbone).get("hours", {}).get(rule) if backbone else None), False


def seconds(path: Path) -> list[float]:
    """Wall-clock times in a file that Snakemake's `benchmark:` writes, which is empty for a moment while it is being written."""
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row["s"]) for row in csv.DictReader(file, delimiter="\t") if row["s"]]
