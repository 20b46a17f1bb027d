"""Say how far a run is: jobs done, running, waiting and failed, by backbone, method and stage, and the hours that are left.

It looks at what is on disk and writes nothing, so it may be called at any time, also while Snakemake works:

    python scripts/status.py config/config.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tabulate import tabulate

from langmerge.grid.grid import REFERENCES, read_run
from langmerge.overview.progress import STATES, Progress, count

SHOWN = 20
"""How many failed jobs are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="the run: its configuration, a YAML file or YAML text")
    parser.add_argument(
        "--config", type=Path, default="config", help="the folder with languages/ and backbones/ (default: config)"
    )


def run(options: argparse.Namespace) -> None:
    progress = Progress(read_run(options.run, options.config))
    print("\n".join(["", table(progress), "", totals(progress), *failures(progress), ""]))


def table(progress: Progress) -> str:
    """A row a backbone, method and stage."""
    groups: dict[tuple[str, str, str], list] = {}
    for job in progress.jobs:
        groups.setdefault((job.backbone, job.method, job.stage), []).append(job)
    backbones, methods = ["", *progress.grid.config["backbones"]], ["", *REFERENCES, *progress.grid.config["methods"]]
    rows = [
        [*key, *(number or "." for number in count(jobs).values()), tasks(jobs) if key[2] == "evaluate" else ""]
        for key, jobs in sorted(
            groups.items(), key=lambda item: (backbones.index(item[0][0]), methods.index(item[0][1]))
        )
    ]
    return tabulate(
        rows, headers=["backbone", "method", "stage", *STATES, "tasks"], colalign=["left"] * 3 + ["right"] * 5
    )


def tasks(jobs: list) -> str:
    """How many evaluation tasks of some jobs are finished, of how many."""
    return f"{sum(job.parts[0] for job in jobs)}/{sum(job.parts[1] for job in jobs)}"


def totals(progress: Progress) -> str:
    """What is done, and what is left: in jobs, hours of jobs, hours of GPUs, and on the clock."""
    grid, states, results = progress.grid, count(progress.jobs), count(progress.evaluations)
    lines = [
        f"{grid.root}: {results['done']} of {len(progress.evaluations)} results ({tasks(progress.evaluations)} tasks); "
        f"jobs: {', '.join(f'{number} {state}' for state, number in states.items())}."
    ]
    if states["done"] == len(progress.jobs):
        return lines[0]
    left, running = progress.left, states["running"]
    clock = (
        f"about {left.hours / running:.1f} h on the clock at {running} at a time, as now"
        if running
        else "nothing runs now"
    )
    lines.append(f"Left: {left.hours:.1f} h of jobs, {left.gpu_hours:.1f} GPU-hours; {clock}.")
    if left.unknown:
        kinds = ", ".join(f"{rule} {backbone}".rstrip() for rule, backbone in left.unknown)
        lines.append(
            f"Not counted, for want of a finished job of the kind and of `hours` in the backbone's file: {kinds}."
        )
    elif not left.measured:
        lines.append("Some durations are those of the backbones' `hours`: no such job has finished yet.")
    return "\n".join(lines)


def failures(progress: Progress) -> list[str]:
    """The failed jobs' logs and last words; the next call of Snakemake makes them again."""
    failed = [job for job in progress.jobs if job.state == "failed"]
    lines = [f"  {job.log}: {job.reason[:300]}" for job in failed[:SHOWN]]
    more = [f"  and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
    return ["Failed, and made again by the next call of Snakemake:", *lines, *more] if failed else []
