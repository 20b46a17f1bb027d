"""The command `langmerge` with quick stand-ins for its slow subcommands, for tests that only count jobs.

`evaluate` writes a valid sealed result, with its parts and with numbers that depend only on their keys. `train` copies
the model that it starts from. Both refuse a missing model, as the real ones do. All other subcommands are the real ones.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from langmerge.commands import evaluate, train
from langmerge.evaluation.sealed import read_sealed, write_sealed
from langmerge.evaluation.units import Unit, units
from langmerge.files import new_directory
from langmerge.yamls import yaml_argument

DOCUMENTS = 8


def install(folder: Path) -> None:
    """Write a program `langmerge` into a folder; the folder belongs first on PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "langmerge"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} "$@"\n')
    program.chmod(0o755)


def evaluated(options: argparse.Namespace) -> None:
    """Write what `langmerge evaluate` writes."""
    check_model(options.model)
    tasks, backend = yaml_argument(options.tasks), yaml_argument(options.backend)
    parts = options.parts or options.result.parent / "tasks"
    asked = options.key, options.chat_template, backend
    scores = []
    for unit in units(tasks, lambda entry: []):
        path = parts / unit.file(*asked)
        if not path.is_file():
            write_sealed(path, score(unit, *asked))
        scores.append(read_sealed(path))
    write_sealed(options.result, {**yaml_argument(options.provenance), "scores": scores})


def score(unit: Unit, key: str, chat_template: bool, backend: dict) -> dict:
    """A unit's part, as `langmerge evaluate` writes it; the number is drawn from the unit's key."""
    key = unit.key(key, chat_template, backend)
    entry = {name: unit.entry[name] for name in ("language", "measure", "task", "metric")}
    value = int(key, 16) % 10_000 / 100
    numbers = {"value": value, "stderr": 1.0}
    halves = {part: {**numbers, "n": DOCUMENTS // 2} for part in ("dev", "test")}
    fingerprint = unit.fingerprint(backend)
    return {
        **entry,
        "seed": unit.seed,
        "key": key,
        "fingerprint": fingerprint,
        **numbers,
        "n": DOCUMENTS,
        "parts": halves,
    }


def trained(options: argparse.Namespace) -> None:
    """Copy the model that a recipe starts from."""
    recipe = yaml_argument(options.recipe)
    check_model(Path(recipe["from"]))
    with new_directory(options.output) as folder:
        shutil.copytree(recipe["from"], folder, dirs_exist_ok=True)


def check_model(folder: Path) -> None:
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        sys.exit(f"error: {folder} lacks {missing}")


STUBS: dict[str, Callable[[argparse.Namespace], None]] = {"evaluate": evaluated, "train": trained}


def main() -> None:
    name, *rest = sys.argv[1:]
    command = {"evaluate": evaluate, "train": train}.get(name)
    if command is None:
        program = Path(sys.executable).with_name("langmerge")
        os.execv(program, [program, name, *rest])
    parser = argparse.ArgumentParser(prog=f"langmerge {name}")
    command.add_arguments(parser)
    STUBS[name](parser.parse_args(rest))


if __name__ == "__main__":
    main()
