"""How long jobs take: as measured in this run, else as the backbone's file says."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean

from langmerge.grid.grid import Grid


def hours(grid: Grid, rule: str, backbone: str = "") -> tuple[float | None, bool]:
    """Hours that a job of a rule takes, or None if nothing tells; and whether they were measured.

    Measured means the mean over the run's finished jobs of that rule and backbone, from Snakemake's
    benchmark files. Otherwise `hours` in config/backbones/<backbone>.yaml counts.
    """
    files = grid.layout.benchmarks(rule, backbone).glob("*.tsv")
    measured = [time for path in files for time in seconds(path)]
    if measured:
        return fmean(measured) / 3600, True
    configured = grid.settings.backbone(backbone).get("hours", {}) if backbone else {}
    return configured.get(rule), False


def seconds(path: Path) -> list[float]:
    """Wall-clock times in one of Snakemake's benchmark files, which is empty for a moment while it
    is written.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row["s"]) for row in csv.DictReader(file, delimiter="\t") if row["s"]]
