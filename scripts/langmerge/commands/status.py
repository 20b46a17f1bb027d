"""Say how far a run is: jobs done, running, waiting and failed, by backbone, method and stage, the
hours that are left, and which finished scores have suspicious answers.

It looks at what is on disk and writes nothing, so it may be called at any time, also while
Snakemake works:

    langmerge status config/config.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tabulate import tabulate

from langmerge.errors import UserError
from langmerge.evaluation.sealed import read_sealed
from langmerge.grid.grid import Grid, read_run
from langmerge.grid.resources import TRAININGS
from langmerge.model import REFERENCES
from langmerge.overview.progress import STATES, Progress, Snapshot, count
from langmerge.searched import lines
from langmerge.suspicion import joined, remarks
from langmerge.training.folders import last_step, training_folders
from langmerge.training.recipe import complete, number_of_steps

SHOWN = 20
"""How many failed jobs, and how many suspicious scores, are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run: its configuration, a YAML file or YAML text")


def run(options: argparse.Namespace) -> None:
    print(page(Snapshot(read_run(options.run))))


def page(snapshot: Snapshot) -> str:
    """The state of a run as text for a terminal."""
    return "\n".join(
        [
            "",
            table(snapshot),
            "",
            totals(snapshot),
            *trainings(snapshot),
            *failures(snapshot),
            *searches(snapshot.grid),
            *suspicions(snapshot.grid),
            "",
        ]
    )


def table(snapshot: Snapshot) -> str:
    """One row per backbone, method and stage."""
    groups: dict[tuple[str, str, str], list[Progress]] = {}
    for progress in snapshot.jobs:
        groups.setdefault(progress.row, []).append(progress)
    config = snapshot.grid.config
    backbones, methods = ["", *config["backbones"]], ["", *REFERENCES, *snapshot.grid.settings.methods]
    rows = [
        [*key, *(number or "." for number in count(jobs).values()), tasks(jobs) if key[2] == "evaluate" else ""]
        for key, jobs in sorted(
            groups.items(), key=lambda item: (backbones.index(item[0][0]), methods.index(item[0][1]))
        )
    ]
    headers = ["backbone", "method", "stage", *STATES, "tasks"]
    return tabulate(rows, headers=headers, colalign=["left"] * 3 + ["right"] * 5)


def tasks(jobs: Sequence[Progress]) -> str:
    """How many evaluation tasks of some jobs are finished, of how many."""
    return f"{sum(job.parts[0] for job in jobs)}/{sum(job.parts[1] for job in jobs)}"


def totals(snapshot: Snapshot) -> str:
    """What is done, and what is left: in jobs, hours of jobs, hours of GPUs, and on the clock."""
    root, states = snapshot.grid.layout.root, count(snapshot.jobs)
    results = count(snapshot.evaluations)
    lines = [
        f"{root}: {results['done']} of {len(snapshot.evaluations)} results ({tasks(snapshot.evaluations)} tasks); "
        f"jobs: {', '.join(f'{number} {state}' for state, number in states.items())}."
    ]
    if states["done"] == len(snapshot.jobs):
        return lines[0]
    left, running = snapshot.left, states["running"]
    clock = (
        f"about {left.hours / running:.1f} h with {running} running at a time, as now"
        if running
        else "nothing runs now"
    )
    lines.append(f"Left: {left.hours:.1f} h of jobs, {left.gpu_hours:.1f} GPU-hours; {clock}.")
    if left.unknown:
        kinds = ", ".join(f"{rule} {backbone}".rstrip() for rule, backbone in left.unknown)
        lines.append(f"Not included, because no such job has finished and the backbone's file has no `hours`: {kinds}.")
    elif not left.measured:
        lines.append(
            "Some durations are expected ones (`hours` and `speed` of the backbones' files), because no such job has finished yet."
        )
    return "\n".join(lines)


def trainings(snapshot: Snapshot) -> list[str]:
    """How far each running training is, and how fast."""
    lines = []
    for progress in snapshot.jobs:
        if progress.state != "running" or progress.job.rule not in TRAININGS:
            continue
        model = progress.job.model
        folders = training_folders(snapshot.grid.layout.made(model.id))
        step = last_step(folders[-1]) if folders else None
        if step is None:
            continue
        recipe = complete(snapshot.grid.recipes.train(model))
        steps, processes = number_of_steps(recipe), snapshot.grid.processes(model.backbone)
        speed = processes * step["tokens_per_second"]
        left = (steps - step["step"]) * recipe["batch_size"] * recipe["sequence_length"] / speed / 3600
        lines.append(
            f"  {model.id}: step {step['step']} of {steps}, loss {step['loss']:.3f}, {speed:,.0f} tokens/s, {left:.1f} h left, "
            f"leg {step['leg']}"
        )
    return ["Trainings:", *lines] if lines else []


def failures(snapshot: Snapshot) -> list[str]:
    """The failed jobs' logs and last messages."""
    failed = [job for job in snapshot.jobs if job.state == "failed"]
    # One job makes several results.
    lines = [*dict.fromkeys(f"  {job.log}: {job.reason[:300]}" for job in failed)]
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return ["Failed; the next call of Snakemake runs them again:", *lines[:SHOWN], *more] if failed else []


def searches(grid: Grid) -> list[str]:
    """What the searches that are done have found, and what they know of the other cells."""
    return [line for record in grid.searches.records() for line in lines(record)]


def suspicions(grid: Grid) -> list[str]:
    """The finished scores whose answers are suspicious, and why."""
    found = []
    for result in grid.results:
        if not result.path.is_file():
            continue
        try:
            scores = read_sealed(result.path).get("scores", [])
        except UserError as error:
            found.append(f"  {error}")
            continue
        for score in scores:
            if reasons := remarks(score.get("language", ""), score.get("diagnostics")):
                seed = "" if score.get("seed") is None else f" seed {score['seed']}"
                found.append(f"  {result.model.id} {score['task']}{seed}: {joined(reasons)}")
    if not found:
        return []
    more = [f"  and {len(found) - SHOWN} more; scores.csv has all, in the column remarks"] if len(found) > SHOWN else []
    return ["Look at these answers before you trust the scores:", *found[:SHOWN], *more]
