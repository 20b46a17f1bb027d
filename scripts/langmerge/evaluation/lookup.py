"""How a task's name becomes lm-eval tasks: its YAML is found, names of the hub become local folders, a group becomes its members."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import lm_eval
from datasets.exceptions import DatasetNotFoundError
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from langmerge.errors import UserError
from langmerge.evaluation import safety
from langmerge.files import write_json

OWN = Path(__file__).parent / "tasks"
"""Tasks that lm-eval lacks, or whose stock YAML does not run with today's libraries."""

STOCK = Path(lm_eval.__file__).parent / "tasks"

NAME = re.compile(r"^(?:task|group):[ \t]*[\"']?([^\s\"'#\[]+)", re.MULTILINE)
"""Where a YAML names its task or group; a group's own `task:`, a list, stands on the following lines or in brackets."""


@dataclass(frozen=True)
class Lookup:
    """Tasks by name.

    Attributes:
        include: folders with task YAMLs, searched before our own and lm-eval's.
        datasets: name of a data set on the hub -> local folder with its files.
        verdicts: where the verdicts of a safety task's judge are kept, or None.
    """

    include: list[str] = field(default_factory=list)
    datasets: dict[str, str] = field(default_factory=dict)
    verdicts: Path | None = None

    def load(self, entry: dict[str, Any]) -> dict[str, Task]:
        """The lm-eval tasks that an entry of the configuration stands for, with their data: one, or those of a group.

        Raises:
            UserError: there is no such task, or its data is not on this machine.
        """
        configs = [self.localised(config) for config in self.configs(entry)]
        try:
            return TaskManager(include_defaults=False).load(configs)["tasks"]
        except (ConnectionError, DatasetNotFoundError, FileNotFoundError) as error:
            names = sorted({str(config.get("dataset_path")) for config in configs})
            raise UserError(
                f"{entry['task']}: its data ({', '.join(names)}) cannot be read: {error}. Nothing is fetched here: `snakemake prefetch` does, "
                f"or give its folder (--datasets)."
            ) from error

    def sources(self, entry: dict[str, Any]) -> list[str]:
        """Names of the folders (of fetched data sets: organisation--name@revision) that an entry's tasks read; none if it is unknown."""
        with contextlib.suppress(UserError):
            names = {config.get("dataset_path") for config in self.configs(entry, resolve=False)}
            return sorted(Path(self.datasets[name]).name for name in names if name in self.datasets)
        return []

    def configs(self, entry: dict[str, Any], resolve: bool = True) -> Iterator[dict[str, Any]]:
        """lm-eval's configuration of each task that an entry stands for; `resolve` imports the functions that it names."""
        if "flores" in entry:
            yield flores(entry, resolve)
        elif "prompts" in entry:
            yield safety.task(entry, self.verdicts)
        else:
            yield from self.named(entry["task"], resolve)

    def named(self, name: str, resolve: bool) -> Iterator[dict[str, Any]]:
        config = load_yaml(self.path(name), resolve_func=resolve)
        if "group" not in config:
            yield config
            return
        if any(metric.get("weight_by_size", True) for metric in config.get("aggregate_metric_list") or [{}]):
            raise UserError(
                f"{name} is a group whose score is not the plain mean over its tasks (aggregate_metric_list, weight_by_size: false). "
                f"Name its tasks instead, or write such a group."
            )
        for member in config["task"]:
            yield from self.named(member, resolve)

    def path(self, name: str) -> Path:
        """The YAML of a task or group: in the folders given, else our own, else lm-eval's."""
        if name in self.nearby:
            return self.nearby[name]
        if name in stock_index():
            return STOCK / stock_index()[name]
        folders = ", ".join([*self.include, str(OWN)])
        raise UserError(
            f"there is no task {name!r}: not in {folders}, and not in lm-eval {lm_eval.__version__}. Mend its name."
        )

    @cached_property
    def nearby(self) -> dict[str, Path]:
        index = TaskManager(include_path=[OWN, *self.include], include_defaults=False).task_index
        return {name: task.yaml_path for name, task in index.items() if task.yaml_path}

    def localised(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration with the local folder in place of the data set's name on the hub."""
        folder = self.datasets.get(config.get("dataset_path"))
        if folder is None:
            return config
        if not Path(folder).is_dir():
            raise UserError(
                f"{config['task']}: {folder}, the folder of {config['dataset_path']}, is not there. `snakemake prefetch` makes it."
            )
        if "custom_dataset" in config:
            return {**config, "dataset_kwargs": {**config["dataset_kwargs"], "folder": folder}}
        splits = converted(Path(folder) / (config.get("dataset_name") or "default"))
        if splits:
            return {**config, "dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": {"data_files": splits}}
        return {**config, "dataset_path": folder}


def converted(folder: Path) -> dict[str, list[str]]:
    """The files of each split, where a repository is laid out as the hub's own conversion to Parquet: configuration/split/0000.parquet.

    That (its branch refs/convert/parquet) is what can be read of a data set whose repository holds a script; it has no README that names configurations.
    """
    if (folder.parent / "README.md").is_file():
        return {}
    return {
        split.name: sorted(map(str, split.glob("*.parquet")))
        for split in sorted(folder.glob("*/"))
        if any(split.glob("*.parquet"))
    }


def flores(entry: dict[str, Any], resolve: bool) -> dict[str, Any]:
    """The translation task of an entry with `flores: {source: {code, name}, target: {code, name}}`, worded as lm-eval's stock tasks are."""
    source, target = (entry["flores"][side] for side in ("source", "target"))
    return {
        **load_yaml(OWN / "flores.yaml", resolve_func=resolve),
        "task": entry["task"],
        "dataset_kwargs": {"source": source["code"], "target": target["code"]},
        "doc_to_text": f"{source['name']} sentence: {{{{sentence_{source['code']}}}}}\n{target['name']} sentence:",
        "doc_to_target": f"{{{{sentence_{target['code']}}}}}",
    }


@cache
def stock_index() -> dict[str, str]:
    """Name -> YAML, below STOCK, of lm-eval's tasks and groups.

    lm-eval parses its 14,000 YAMLs to know them, which takes seconds; here one expression finds the name, and the answer is remembered.
    """
    kept = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "langmerge"
        / f"lm_eval-{lm_eval.__version__}-tasks.json"
    )
    with contextlib.suppress(OSError, ValueError):
        return json.loads(kept.read_text(encoding="utf-8"))
    index = dict(found for path in sorted(STOCK.rglob("*.yaml")) for found in names(path))
    with contextlib.suppress(OSError):  # a home that is full or read-only: the next job looks again
        write_json(kept, index)
    return index


def names(path: Path) -> Iterator[tuple[str, str]]:
    match = NAME.search(path.read_text(encoding="utf-8"))
    if match:
        yield match[1], path.relative_to(STOCK).as_posix()
