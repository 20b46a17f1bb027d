"""Say what a run will take before it runs: what is fetched, jobs by rule, gigabytes on disk,
GPU-hours, and the time it takes; how small a difference its documents can show; and how many tokens
the models' tokenizers make of a word.

Only what is still to do counts: finished results stay. Needs no network and writes nothing:

    langmerge plan config/paper.yaml --jobs 8

Hours are those of the backbones' files (`hours`), or of finished jobs once there are some; of an
evaluation without either they are estimated from the tokens of its tasks. A second table says which
models are asked which task, and what each task takes. Gigabytes are the configuration's `gb`, or
those of files once they are there.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from langmerge.errors import UserError
from langmerge.grid.grid import read_run
from langmerge.grid.tasks import ASKED
from langmerge.measures import MEASURES
from langmerge.overview.effects import LEVEL, POWER, effects
from langmerge.overview.fertility import fertilities
from langmerge.overview.plan import Plan
from langmerge.overview.tasks import STARTING, task_costs

NAMED = 3
"""Repositories or models that a line names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run: its configuration, a YAML file or YAML text")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many jobs run at once (default: 1)")
    parser.add_argument(
        "--limit",
        type=int,
        metavar="MINUTES",
        help="how long a job may run (default: any time); families are cut to fit",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    if options.jobs < 1:
        raise UserError(f"--jobs {options.jobs}: expected a number above 0.")
    grid = read_run(options.run)
    grid.batches.at_once, grid.batches.limit = options.jobs, options.limit
    content = summary(Plan(grid), options.jobs)
    print(json.dumps(content, indent=1) if options.json else page(content))


def summary(plan: Plan, jobs: int) -> dict[str, Any]:
    """All that is printed, as data: hours, GB, numbers of jobs; null for what is not known."""
    times = [{**asdict(time), "gpu_hours": time.gpu_hours} for time in plan.times]
    return {
        "run": str(plan.grid.layout.root),
        "cache": plan.grid.config["cache"],
        "live_merges": plan.grid.config["live_merges"],
        "fetch": [{key: repository[key] for key in ("kind", "hub", "revision", "gb")} for repository in plan.to_fetch],
        "jobs": dict(plan.counts),
        "times": times,
        "trainings": [asdict(found) for found in plan.trainings],
        "gpu_hours": sum(time["gpu_hours"] or 0.0 for time in times),
        "disk": plan.disk,
        "clock": {"jobs": jobs, "hours": plan.clock(jobs)},
        "families": plan.families,
        "searches": plan.searches,
        "unknown_hours": [[time["rule"], time["backbone"]] for time in times if time["unknown"]],
        "unpinned": plan.grid.hub.unpinned,
        "tasks": [asdict(row) for row in task_costs(plan.grid, plan.pending)],
        "effects": [asdict(effect) for effect in effects(plan.grid)],
        "fertility": asdict(fertilities(plan.grid)),
    }


def page(content: dict[str, Any]) -> str:
    """The summary as text for a terminal."""
    if not content["jobs"]:
        return f"{content['run']}: nothing is left to do."
    parts = [f"What is left to do of {content['run']}", jobs_table(content["jobs"])]
    if content["fetch"]:
        parts.append(fetch_table(content["fetch"], content["cache"]))
    if content["times"]:
        parts.append(times_table(content["times"]))
    if any(training["gpu_hours"] or training["memory"] for training in content["trainings"]):
        parts.append(trainings_table(content["trainings"]))
    if content["tasks"]:
        parts.append(tasks_table(content["tasks"]))
    if content["effects"]:
        parts.append(effects_table(content["effects"]))
    if content["fertility"]["known"]:
        parts.append(fertility_table(content["fertility"]["known"]))
    last = [
        *fertility_lines(content["fertility"]),
        *map(family_line, content["families"]),
        *map(search_line, content["searches"]),
        disk_line(content),
        *clock_lines(content),
        *pin_lines(content),
    ]
    return "\n\n".join([*parts, "\n".join(last)])


def jobs_table(jobs: dict[str, int]) -> str:
    return tabulate([*jobs.items(), ["total", sum(jobs.values())]], headers=["rule", "jobs"])


def fetch_table(fetch: list[dict[str, Any]], cache: str) -> str:
    rows = [[entry["kind"], entry["hub"], entry["revision"], number(entry["gb"])] for entry in fetch]
    rows.append(["total", f"{len(fetch)} into {cache}", "", number(sum(entry["gb"] or 0.0 for entry in fetch))])
    headers = ["to fetch", "repository", "revision", "GB"]
    return tabulate(rows, headers=headers, colalign=["left", "left", "left", "right"], disable_numparse=True)


def times_table(times: list[dict[str, Any]]) -> str:
    rows = [
        [
            time["backbone"],
            time["rule"],
            time["jobs"],
            number(time["hours"]),
            time["source"],
            time["gpus"],
            number(time["gpu_hours"]),
        ]
        for time in times
    ]
    headers = ["backbone", "stage", "jobs", "hours per job", "source", "GPUs per job", "GPU-hours"]
    align = ["left", "left", "right", "right", "left", "right", "right"]
    return tabulate(rows, headers=headers, colalign=align, disable_numparse=True)


def trainings_table(trainings: list[dict[str, Any]]) -> str:
    """One row per training: its tokens, 10^18 operations, and what it needs."""
    rows = [
        [
            training["model"],
            number(training["tokens"] / 1e6),
            number(training["flops"] and training["flops"] / 1e18),
            number(training["gpu_hours"]),
            training["legs"] or "?",
            number(training["memory"]),
            number(training["checkpoints"]),
        ]
        for training in trainings
    ]
    headers = [
        "training (estimates)",
        "tokens (M)",
        "EFLOP",
        "GPU-hours",
        "legs",
        "GB per process",
        "GB of checkpoints",
    ]
    return tabulate(rows, headers=headers, colalign=["left", *["right"] * 6], disable_numparse=True)


def tasks_table(tasks: list[dict[str, Any]]) -> str:
    """One row per task; a column of which nothing is known is left out."""
    numbers = {"requests": "requests", "prompt": "tokens read (M)", "answer": "written (M)", "gpu_hours": "GPU-hours"}
    shown = [key for key in numbers if any(row[key] for row in tasks)]
    rows = [
        [row["task"], asked(row["models"]), row["evaluations"], *(amount(row, key) for key in shown)]
        for row in tasks
        if shown or row["task"] != STARTING
    ]
    if "gpu_hours" in shown:
        total = sum(row["gpu_hours"] or 0.0 for row in tasks)
        rows.append(["total", "", "", *("" for _ in shown[1:]), number(total)])
    headers = ["task (estimates)", "models asked", "evaluations", *map(numbers.get, shown)]
    align = ["left", "left", *["right"] * (1 + len(shown))]
    return tabulate(rows, headers=headers, colalign=align, disable_numparse=True)


def effects_table(effects: list[dict[str, Any]]) -> str:
    """One row for languages and backbones with the same documents."""
    same: dict[tuple[Any, ...], dict[str, list[str]]] = {}
    for effect in effects:
        key = tuple(effect[name] for name in ("measure", "documents", "difference", "half", "margin", "given"))
        places = same.setdefault(key, {"backbone": [], "language": []})
        for name, found in places.items():
            found.extend([effect[name]] if effect[name] not in found else [])
    margins = any(key[-1] is not None for key in same)
    several = len({tuple(places["backbone"]) for places in same.values()}) > 1
    rows = []
    for (measure, documents, difference, half, margin, given), places in same.items():
        where = [", ".join(places["language"]), *([", ".join(places["backbone"])] if several else [])]
        own = [] if not margins else ["", ""] if given is None else [f"{given:g}", number(margin)]
        rows.append([MEASURES[measure].title, *where, f"{documents:,}", number(difference), number(half), *own])
    rows.sort(key=lambda row: [measure.title for measure in MEASURES.values()].index(row[0]))
    names = ["smallest difference (estimates)", "language", *(["backbone"] if several else [])]
    headers = [*names, "documents", "all", "one half", *(["margin", "smallest margin"] if margins else [])]
    align = ["left"] * len(names) + ["right"] * (len(headers) - len(names))
    table = tabulate(rows, headers=headers, colalign=align, disable_numparse=True)
    reading = [
        f"A smaller difference between a merge and its instruct model, in points, is shown in fewer than {100 * POWER:g}% of cases",
        f"(p < {LEVEL:g}, one comparison); one half is what chooses w or reports it.",
    ]
    if margins:
        reading.append("Within a smaller margin, `nothing lost` is shown in fewer, even if it is true.")
    return f"{table}\n{' '.join(reading)}"


def fertility_table(known: list[dict[str, Any]]) -> str:
    """One row per tokenizer."""
    codes = [*known[0]["per_word"]]
    rows = [[some(own["models"]), *(number(own["per_word"][code]) for code in codes)] for own in known]
    headers = ["tokens per word, by the tokenizer of", *codes]
    return tabulate(rows, headers=headers, colalign=["left", *["right"] * len(codes)], disable_numparse=True)


def fertility_lines(fertility: dict[str, Any]) -> list[str]:
    """What is missing for tokens per word."""
    missing = [f"text in {', '.join(fertility['texts'])}"] if fertility["texts"] else []
    missing += [f"the tokenizer of {some(fertility['tokenizers'])}"] if fertility["tokenizers"] else []
    lines = [f"Tokens per word are not known yet where these are not there: {'; '.join(missing)}."] if missing else []
    if fertility["others"]:
        lines.append(f"Tokens per word need a tokenizer.json, which these do not have: {some(fertility['others'])}.")
    return lines


def asked(kinds: list[str]) -> str:
    return "all" if len(kinds) == len(ASKED) else ", ".join(kinds)


def amount(row: dict[str, Any], key: str) -> str:
    """`number`, with separators in a large one; nothing where there is nothing to count."""
    value = row[key]
    if value is None and row["task"] == STARTING:
        return ""
    return f"{value:,.0f}" if value and value >= 1000 else number(value)


def family_line(family: dict[str, Any]) -> str:
    """How the cells of a backbone that are merged in memory are shared out."""
    several = family["jobs"] > 1
    return (
        f"{family['backbone']}: {family['cells']} cell{'s' if family['cells'] > 1 else ''} in {family['jobs']} "
        f"job{'s' if several else ''}{' of' if several else ', of'} at most {family['largest']}, merged in memory one after "
        f"another; a job asks for at most {family['minutes']} minutes."
    )


def search_line(search: dict[str, Any]) -> str:
    """What the searches of a backbone cost."""
    return (
        f"{search['backbone']}: {search['searches']} search{'es' if search['searches'] > 1 else ''} among {search['cells']} cells; "
        f"at most {100 * search['budget']:g}% of their documents are asked, as many as {search['most']:.1f} whole cells have "
        f"(typically {search['typical']:.1f})."
    )


def disk_line(content: dict[str, Any]) -> str:
    disk = content["disk"]
    written = f"{number(disk['fetched'])} fetched, {number(disk['trained'])} trained, {number(disk['merged'])} merged"
    line = f"Disk: {number(disk['written'])} GB will be written ({written}). At most {number(disk['peak'])} GB are there at once"
    besides = [f"{content['live_merges']} merged checkpoints"] if "merge" in content["jobs"] else []
    besides += [f"the {number(disk['there'])} GB that are there now"] if disk["there"] else []
    line += f", with {' and '.join(besides)}." if besides else "."
    if disk["checkpoints"]:
        line += f" A training has up to {number(disk['checkpoints'])} GB of checkpoints besides."
    unknown = sum(entry["gb"] is None for entry in content["fetch"])
    missing = [f"{unknown} repositories with a ?"] if unknown else []
    missing += [f"models of {name}" for name in disk["unknown"]]
    return line + (f"\nNot included, because their size is unknown: {', '.join(missing)}." if missing else "")


def clock_lines(content: dict[str, Any]) -> list[str]:
    clock, lines = content["clock"], []
    if clock["hours"]:
        at_once = f"{clock['jobs']} job{'s' if clock['jobs'] > 1 else ''} at a time"
        lines.append(
            f"GPU-hours: {number(content['gpu_hours'])}. Duration with {at_once}: at least {number(clock['hours'])} hours."
        )
    if content["unknown_hours"]:
        kinds = ", ".join(" ".join(filter(None, kind)) for kind in content["unknown_hours"])
        lines.append(f"Not included until the first of them has finished, because their duration is unknown: {kinds}.")
    return lines


def pin_lines(content: dict[str, Any]) -> list[str]:
    """What has no revision, so that tomorrow it may be another."""
    names = content["unpinned"]
    if not names:
        return []
    return [
        f"Without a revision, so that tomorrow they may be others: {some(names)}. After `langmerge prefetch`, "
        "`langmerge pin` writes the commits into config/."
    ]


def some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def number(value: float | None) -> str:
    """Two significant digits of a small number, one decimal of a large one."""
    return "?" if value is None else f"{value:.1f}" if value >= 10 or not value else f"{value:.2g}"
