"""Say what a run will take before it runs: what is fetched, jobs by rule, gigabytes on disk, GPU-hours, and the time on the clock.

Only what is still to do counts: finished results stay. Needs no network and writes nothing:

    python scripts/plan.py config/paper.yaml --jobs 8

Hours are those of the backbones' files (`hours`), and of finished jobs once there are some; gigabytes are the configuration's `gb`, and those of
files once they are there.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from langmerge.errors import UserError
from langmerge.grid.grid import read_run
from langmerge.overview.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="the run: its configuration, a YAML file or YAML text")
    parser.add_argument(
        "--config",
        type=Path,
        default="config",
        help="the folder with languages/, backbones/ and benchmarks.yaml (default: config)",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many jobs run at once (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    if options.jobs < 1:
        raise UserError(f"--jobs {options.jobs}: expected a number above 0.")
    plan = Plan(read_run(options.run, options.config))
    content = summary(plan, options.jobs)
    print(json.dumps(content, indent=1) if options.json else page(content))


def summary(plan: Plan, jobs: int) -> dict[str, Any]:
    """All that is printed, as data: hours, GB, numbers of jobs; null for what is not known."""
    times = [{**asdict(time), "gpu_hours": time.gpu_hours} for time in plan.times]
    return {
        "run": str(plan.grid.root),
        "cache": plan.grid.config["cache"],
        "live_merges": plan.grid.config["live_merges"],
        "fetch": [{key: repository[key] for key in ("kind", "hub", "revision", "gb")} for repository in plan.to_fetch],
        "jobs": dict(plan.counts),
        "times": times,
        "gpu_hours": sum(time["gpu_hours"] or 0.0 for time in times),
        "disk": plan.disk,
        "clock": {"jobs": jobs, "hours": plan.clock(jobs)},
        "unknown_hours": [[time["rule"], time["backbone"]] for time in times if time["hours"] is None],
    }


def page(content: dict[str, Any]) -> str:
    """The summary for people."""
    if not content["jobs"]:
        return f"{content['run']}: nothing is left to do."
    parts = [f"What is left to do of {content['run']}", jobs_table(content["jobs"])]
    if content["fetch"]:
        parts.append(fetch_table(content["fetch"], content["cache"]))
    if content["times"]:
        parts.append(times_table(content["times"]))
    return "\n\n".join([*parts, "\n".join([disk_line(content), *clock_lines(content)])])


def jobs_table(jobs: dict[str, int]) -> str:
    return tabulate([*jobs.items(), ["in all", sum(jobs.values())]], headers=["rule", "jobs"])


def fetch_table(fetch: list[dict[str, Any]], cache: str) -> str:
    rows = [[each["kind"], each["hub"], each["revision"], number(each["gb"])] for each in fetch]
    rows.append(["in all", f"{len(fetch)} into {cache}", "", number(sum(each["gb"] or 0.0 for each in fetch))])
    return tabulate(
        rows,
        headers=["to fetch", "repository", "revision", "GB"],
        colalign=["left", "left", "left", "right"],
        disable_numparse=True,
    )


def times_table(times: list[dict[str, Any]]) -> str:
    rows = [
        [
            time["backbone"],
            time["rule"],
            time["jobs"],
            number(time["hours"]),
            "measured" if time["measured"] else "as configured" if time["hours"] else "not known",
            time["gpus"],
            number(time["gpu_hours"]),
        ]
        for time in times
    ]
    headers = ["backbone", "stage", "jobs", "hours a job", "which are", "GPUs a job", "GPU-hours"]
    return tabulate(
        rows,
        headers=headers,
        colalign=["left", "left", "right", "right", "left", "right", "right"],
        disable_numparse=True,
    )


def disk_line(content: dict[str, Any]) -> str:
    disk = content["disk"]
    line = (
        f"Disk: {number(disk['written'])} GB are written ({number(disk['fetched'])} fetched, {number(disk['trained'])} trained, {number(disk['merged'])} merged); "
        f"at the most {number(disk['peak'])} GB are there at once, with {content['live_merges']} merged checkpoints"
        + (f" and the {number(disk['there'])} GB that are there now." if disk["there"] else ".")
    )
    unknown = sum(each["gb"] is None for each in content["fetch"])
    missing = [
        *([f"repositories with a ? ({unknown})"] if unknown else []),
        *(f"models of {name}" for name in disk["unknown"]),
    ]
    return line + (f"\nOf unknown size, and not in this: {', '.join(missing)}." if missing else "")


def clock_lines(content: dict[str, Any]) -> list[str]:
    clock = content["clock"]
    lines = []
    if clock["hours"]:
        gpu_hours, on_the_clock = number(content["gpu_hours"]), number(clock["hours"])
        lines.append(
            f"GPU-hours: {gpu_hours}. On the clock, with {clock['jobs']} jobs at a time: at least {on_the_clock} hours."
        )
    if content["unknown_hours"]:
        kinds = ", ".join(" ".join(filter(None, kind)) for kind in content["unknown_hours"])
        lines.append(f"Of unknown duration, and not in this until the first has finished: {kinds}.")
    return lines


def number(value: float | None) -> str:
    """Two digits of a small number, one behind the point of a large one."""
    return "?" if value is None else f"{value:.1f}" if value >= 10 or not value else f"{value:.2g}"
