"""The command `langmerge` with quick stand-ins for its slow subcommands, for tests that only count
jobs.

`batch` writes valid sealed results, with their parts and with numbers that depend only on their
keys. `train` copies the model that it starts from, and `merge` the instruct model. `report` writes
empty files. All refuse a missing input, as the real ones do. The other subcommands are the real
ones.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from langmerge.evaluation.sealed import read_sealed, write_sealed
from langmerge.evaluation.units import Unit, units
from langmerge.files import new_directory, write_text
from langmerge.live.batch import BatchFile, BatchModel
from langmerge.yamls import yaml_argument

DOCUMENTS = 8


PROGRAM = """#!/bin/sh
case $1 in
  {commands}) sleep {seconds}; exec {python} {stub} "$@" ;;
  *) exec {real} "$@" ;;
esac
"""


def install(folder: Path, commands: Iterable[str] = (), seconds: float = 0) -> None:
    """Write a program `langmerge` into a folder, which belongs first on PATH.

    Args:
        commands: the subcommands that are pretended; all of STUBS, if there are none.
        seconds: how long each waits before it does anything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"python": sys.executable, "stub": __file__, "real": str(Path(sys.executable).with_name("langmerge"))}
    quoted = {name: shlex.quote(path) for name, path in paths.items()}
    program = folder / "langmerge"
    program.write_text(PROGRAM.format(commands="|".join(commands or STUBS), seconds=seconds, **quoted))
    program.chmod(0o755)


def batch(options: argparse.Namespace) -> None:
    batch = BatchFile.read(options.batch)
    for model in batch.models:
        if model.making:
            for source in model.making.recipe["models"]:
                check_model(Path(source["model"]))
            write_text(Path(model.making.recipe_file), "")
        else:
            check_model(Path(model.folder))
    for model in [] if options.recipes else batch.models:
        evaluate(model, batch)


def evaluate(model: BatchModel, batch: BatchFile) -> None:
    asked = model.key, model.chat_template, batch.backend
    for wanted in model.results:
        scores = []
        for unit in units(batch.questions[wanted.question]["tasks"], lambda entry: []):
            path = Path(model.parts) / unit.file(*asked)
            if not path.is_file():
                write_sealed(path, score(unit, *asked))
            scores.append(read_sealed(path))
        write_sealed(Path(wanted.path), {"cell": model.columns, "scores": scores})
    if model.making:
        write_text(Path(model.making.anatomy), "")


def score(unit: Unit, model_key: str, chat_template: bool, backend: dict) -> dict:
    """A unit's part, as `langmerge evaluate` writes it; the number is drawn from the unit's key."""
    key = unit.key(model_key, chat_template, backend)
    entry = {name: unit.entry[name] for name in ("language", "measure", "task", "metric")}
    numbers = {"value": int(key, 16) % 10_000 / 100, "stderr": 1.0}
    return {
        **entry,
        "seed": unit.seed,
        "key": key,
        "fingerprint": unit.fingerprint(backend),
        **numbers,
        "n": DOCUMENTS,
        "parts": {part: {**numbers, "n": DOCUMENTS // 2} for part in ("dev", "test")},
    }


def train(options: argparse.Namespace) -> None:
    copy_model(Path(yaml_argument(options.recipe)["from"]), options.output)


def merge(options: argparse.Namespace) -> None:
    recipe = yaml_argument(options.recipe)
    for model in recipe["models"]:
        check_model(Path(model["model"]))
    copy_model(Path(recipe["tokenizer_source"]), options.output)
    if options.anatomy:
        write_text(options.anatomy, "")


def report(options: argparse.Namespace) -> None:
    from langmerge.grid.grid import read_run

    grid = read_run(options.run)
    for job in grid.jobs:
        if job.name in options.names:
            missing = [path for path in job.inputs if not path.is_file()]
            if missing:
                sys.exit(f"error: {missing} are missing")
            for path in job.outputs:
                write_text(path, "")


def copy_model(source: Path, output: Path) -> None:
    check_model(source)
    with new_directory(output) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def check_model(folder: Path) -> None:
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        sys.exit(f"error: {folder} lacks {missing}")


STUBS = {"batch": batch, "train": train, "merge": merge, "report": report}


def main() -> None:
    name, *rest = sys.argv[1:]
    parser = argparse.ArgumentParser(prog=f"langmerge {name}")
    if name == "report":  # its module loads pandas
        parser.add_argument("run")
        parser.add_argument("names", nargs="*")
        parser.add_argument("--threads")
    else:
        import_module(f"langmerge.commands.{name}").add_arguments(parser)
    STUBS[name](parser.parse_args(rest))


if __name__ == "__main__":
    main()
