"""Say what is wrong with a run's configuration before anything is fetched, trained or queued.

    langmerge check config/paper.yaml            the files, in a second
    langmerge check config/paper.yaml --data     also what they name

All mistakes are named at once, each with file, line and key. Every start of a run checks the same.
With --data, each task is loaded and one document of it is asked of the smallest model that is
there, in the backend of its backbone. That needs the data (`langmerge prefetch`, or the run's own
corpora) and takes minutes with a large model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.faults import Faults
from langmerge.grid.grid import Grid, default_run, read_run
from langmerge.grid.tasks import ASKED
from langmerge.model import Model
from langmerge.overview.plan import gigabytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        help="the run's configuration: a YAML file, or YAML text (default: config/config.yaml)",
    )
    parser.add_argument("--data", action="store_true", help="also load each task, and ask one document of each")


def run(options: argparse.Namespace) -> None:
    grid = read_run(options.run or default_run())
    merges = len(grid.expansion.merges)
    print(
        f"{grid.settings.source}: {len(grid.models)} models ({merges} merges), {len(grid.results)} results, "
        f"{len(grid.reports)} tables and figures. No mistake found."
    )
    if grid.run_reports.left_out:
        print(
            f"Left out, because the run has none of their backbones or measures: {', '.join(grid.run_reports.left_out)}."
        )
    if options.data:
        check_data(grid)


# ---- with --data


def check_data(grid: Grid) -> None:
    """Load each task, and ask one document of each.

    Raises:
        UserError: a task cannot be loaded, or the model does not answer.
    """
    entries, waiting = loadable(grid)
    if waiting:
        print(f"Not looked at, because their data are not there yet: {', '.join(waiting)}.")
    model = smallest(grid)
    if model is None:
        load(grid, entries)
        print(f"{counted(entries)} can be loaded. No model is there yet to be asked.")
        return
    print(f"Asking {model.id}, the smallest model that is there, one document of each of {counted(entries)}.")
    ask(grid, model, entries)
    print("It answers all of them.")


def counted(entries: list[dict[str, Any]]) -> str:
    return f"{len(entries)} task{'' if len(entries) == 1 else 's'}"


def loadable(grid: Grid) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries of the run's tasks, each task once, and the names of those whose data are not on
    this machine.
    """
    found: dict[str, dict[str, Any]] = {}
    for backbone in grid.config["backbones"]:
        for kind in ASKED:
            for code in grid.evaluated:
                found |= {entry["task"]: entry for entry in grid.tasks.asked(backbone, kind, code)}
    reads = {
        name: [*grid.tasks.generated([entry]), *grid.tasks.datasets([entry]).values()] for name, entry in found.items()
    }
    waiting = [name for name, folders in reads.items() if not all(folder.is_dir() for folder in folders)]
    return [entry for name, entry in found.items() if name not in waiting], waiting


def smallest(grid: Grid) -> Model | None:
    """The smallest reference model that is there."""
    there = [model for model in grid.expansion.reference_models if grid.layout.model(model).is_dir()]
    return min(there, key=lambda model: gigabytes(grid.layout.model(model)), default=None)


def load(grid: Grid, entries: list[dict[str, Any]]) -> None:
    """Load the tasks.

    Raises:
        UserError: names all that cannot be loaded.
    """
    from langmerge.evaluation.lookup import Lookup
    from langmerge.offline import go_offline

    go_offline()
    datasets = {name: str(folder) for name, folder in grid.tasks.datasets(entries).items()}
    lookup, faults = Lookup(grid.tasks.include(entries), datasets), Faults()
    for entry in entries:
        with faults.kept():
            lookup.load(entry)
    faults.refuse()


def ask(grid: Grid, model: Model, entries: list[dict[str, Any]]) -> None:
    """Ask a model one document of each task, in a process of its own, as a run does it: vLLM has an
    environment of its own.

    Raises:
        UserError: it ended with an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "langmerge", "evaluate", *arguments(grid, model, entries, Path(folder))]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise UserError(f"{model.id}: {done.stderr.rpartition('error: ')[2].strip()[-2000:]}")


def arguments(grid: Grid, model: Model, entries: list[dict[str, Any]], folder: Path) -> Iterator[str]:
    """The arguments of `langmerge evaluate`."""
    datasets = {name: str(path) for name, path in grid.tasks.datasets(entries).items()}
    short = [{**entry, "limit": 1, **({"seeds": entry["seeds"][:1]} if "seeds" in entry else {})} for entry in entries]
    yield from (str(grid.layout.model(model)), str(folder / "result.json"), "--tasks", json.dumps(short))
    yield from ("--datasets", json.dumps(datasets), "--backend", json.dumps(grid.tasks.backend(model)), "--given")
    yield from ("--include", *map(str, grid.tasks.include(entries)))
    if grid.tasks.chat_template(model):
        yield "--chat-template"
