"""Discard results of a run, so that the next call of Snakemake asks the models again.

    langmerge forget config/paper.yaml llama-3.1-8b/linear/eu/w0.5
    langmerge forget config/paper.yaml --task ifeval_eu

Results are sealed: neither `snakemake --forcerun` nor deleting only a result asks a model again,
because the results of its single tasks are kept. This deletes the sealed results and, of the chosen
tasks, the parts, the answers and the judge's verdicts. Only results of the present configuration
are found.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.evaluation.groups import group_files
from langmerge.evaluation.units import blocks
from langmerge.files import glob_escape
from langmerge.grid.grid import Grid, read_run
from langmerge.grid.results import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run: its configuration, a YAML file or YAML text")
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="ids such as mini/linear/eu/w0.5 (default: all models of the run)"
    )
    parser.add_argument(
        "--task", action="append", metavar="NAME", help="only this task; may be given several times (default: all)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only list the files")


def run(options: argparse.Namespace) -> None:
    if not options.models and not options.task:
        raise UserError("name a model or a --task: without either, every result of the run would be discarded.")
    grid = read_run(options.run)
    results = chosen(grid, options.models, options.task)
    files = [path for result in results for path in files_of(grid, result, options.task)]
    files += [pool.record for pool in grid.searches if {*pool.cells} & {result.model for result in results}]
    there = sorted({path for path in files if path.exists()})
    for path in there:
        print(path)
        if not options.dry_run:
            path.unlink()
    verb = "would be discarded" if options.dry_run else "discarded"
    print(f"{len(there)} files {verb}. The next call of Snakemake evaluates these models again.")


def chosen(grid: Grid, models: list[str], tasks: list[str] | None) -> list[Result]:
    """The results that some models, or all, have of some tasks, or all.

    Raises:
        UserError: the run has no such model or task.
    """
    searched = {model.id for pool in grid.searches for model in pool.cells}
    for name in models:
        if name not in {*grid.models, *searched}:
            raise UserError(f"{name} is not in this run. Its models: {', '.join(list(grid.models)[:10])}, ...")
    known = {task["task"] for code in grid.settings.evaluated for task in grid.tasks.of(code)}
    for name in tasks or []:
        if name not in known:
            raise UserError(f"--task {name}: not in this run. Its tasks: {', '.join(sorted(known))}.")
    results = [*grid.results, *(result for pool in grid.searches for own in pool.results for result in own)]
    of_models = [result for result in dict.fromkeys(results) if not models or result.model.id in models]
    return [
        result
        for result in of_models
        if not tasks or {*tasks} & {named(task) for task in grid.results.tasks_of(result)}
    ]


def files_of(grid: Grid, result: Result, tasks: list[str] | None) -> list[Path]:
    """A result's file and, of its tasks, the parts, the answers, what is derived from these, and
    the judge's verdicts.
    """
    units = grid.tasks.units(result.model, result.shard)
    files = [result.path]
    for unit, part in zip(units, grid.results.parts(result), strict=True):
        if not tasks or named(unit.entry) in tasks:
            files += [
                part,
                *blocks(part),
                result.samples / f"{part.stem}.jsonl.gz",
                part.parent / f"{unit.entry['task']}.verdicts.jsonl",
            ]
    model = result.model
    asked = grid.identity.model_key(model), grid.tasks.chat_template(model), grid.tasks.backend(model)
    answers = group_files(units, [unit.key(*asked) for unit in units])
    names = [name for group, own in answers.items() if not tasks or group in tasks for name in own]
    files += [result.samples / name for name in names]
    stems = [path.name.removesuffix(".jsonl.gz") for path in files if path.name.endswith(".jsonl.gz")]
    return [*files, *(path for stem in stems for path in result.samples.glob(f"{glob_escape(stem)}.*.jsonl.gz"))]


def named(entry: dict[str, Any]) -> str:
    """What the run calls an entry's task: a member of a group is called as the group is."""
    return entry.get("group", entry["task"])
