"""How a task's name becomes lm-eval tasks.

Its YAML is found, names of data sets become local files, and a group becomes its members.
"""

from __future__ import annotations

import contextlib
import glob
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval
from datasets.exceptions import DatasetNotFoundError
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import _import_func_in_yml as import_function
from lm_eval.tasks._yaml_loader import load_yaml

from langmerge.errors import UserError
from langmerge.evaluation import safety
from langmerge.evaluation.localdata import readable_folder, with_local_data
from langmerge.evaluation.taskfiles import SHIPPED, Function, content_key, find, read
from langmerge.files import user_cache, write_json

STOCK = Path(lm_eval.__file__).parent / "tasks"

NAME = re.compile(r"^(?:task|group):[ \t]*[\"']?([^\s\"'#\[]+)", re.MULTILINE)
"""Where a YAML names its task or group.

The list of a group's tasks, which has the key `task` too, is on other lines or in brackets.
"""


@dataclass(frozen=True)
class Lookup:
    """Tasks by name.

    Attributes:
        include: folders with task YAMLs, searched in this order, before the package's own and
            lm-eval's.
        datasets: name of a data set on the hub -> local folder with its files.
        verdicts: where the verdicts of a safety task's judge are kept, or None.
    """

    include: list[Path] = field(default_factory=list)
    datasets: dict[str, str] = field(default_factory=dict)
    verdicts: Path | None = None

    def load(self, entry: dict[str, Any]) -> dict[str, Task]:
        """The lm-eval tasks of an entry of the configuration, with their data.

        There is one, or those of a group.

        Raises:
            UserError: there is no such task, its data are not on this machine, or its files have
                changed since `content`, their hash, was put into the entry.
        """
        if "content" in entry and content_key(entry["task"], self.folders) != entry["content"]:
            raise UserError(
                f"{entry['task']}: its files have changed since this evaluation was planned. Run again: `snakemake` plans "
                f"a new one."
            )
        configs = [self.localised(config) for config in self.configs(entry)]
        try:
            return TaskManager(include_defaults=False).load(configs)["tasks"]
        except (ConnectionError, DatasetNotFoundError, FileNotFoundError) as error:
            names = sorted({str(config.get("dataset_path")) for config in configs})
            raise UserError(
                f"{entry['task']}: its data ({', '.join(names)}) cannot be read: {error}. Nothing is fetched here: "
                f"`langmerge prefetch` does, or give its folder (--datasets)."
            ) from error

    def identified(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The entry with `content`, the hash of the task's own files, if it has any.

        The grid has put it there, or `data` where it makes these files itself; a list of tasks
        that somebody wrote has neither.

        Raises:
            UserError: one of these files is missing.
        """
        if not {"content", "data", "flores", "prompts"}.isdisjoint(entry):
            return entry
        key = content_key(entry["task"], self.folders)
        return {**entry, "content": key} if key else entry

    def sources(self, entry: dict[str, Any]) -> list[str]:
        """The fetched data sets that an entry's tasks read.

        They are named as their folders are: organisation--name@revision.
        """
        with contextlib.suppress(UserError):  # an unknown task is refused when it is loaded
            names = {config.get("dataset_path") for config in self.configs(entry, resolve=False)}
            return sorted(Path(self.datasets[name]).name for name in names if name in self.datasets)
        return []

    def configs(self, entry: dict[str, Any], resolve: bool = True) -> Iterator[dict[str, Any]]:
        """lm-eval's configuration of each task of an entry.

        Args:
            resolve: import the functions that the YAML files name, and find their local data.
        """
        if "flores" in entry:
            yield flores(entry, resolve)
        elif "prompts" in entry:
            yield safety.task(entry, self.verdicts)
        else:
            yield from self.named(entry["task"], resolve)

    def named(self, name: str, resolve: bool) -> Iterator[dict[str, Any]]:
        """The configurations of a task, or of the tasks of a group."""
        file = find(name, self.folders)
        if file is None:
            config = self.stock(name, resolve)
        else:
            config = imported(with_local_data(file)) if resolve else file.settings
        if "group" not in config:
            yield config
            return
        if any(metric.get("weight_by_size", True) for metric in config.get("aggregate_metric_list") or [{}]):
            raise UserError(
                f"{name} is a group whose score is not the plain mean over its tasks (aggregate_metric_list, "
                f"weight_by_size: false). Name its tasks instead, or write such a group."
            )
        for member in file.members if file else config["task"]:
            yield from self.named(member, resolve)

    @property
    def folders(self) -> list[Path]:
        """Where tasks are looked for before lm-eval's."""
        return [*self.include, SHIPPED]

    def stock(self, name: str, resolve: bool) -> dict[str, Any]:
        """The configuration of one of lm-eval's tasks.

        Raises:
            UserError: it has none of that name.
        """
        if name not in stock_index():
            raise UserError(
                f"there is no task {name!r}: not in {', '.join(map(str, self.folders))}, and not in lm-eval "
                f"{lm_eval.__version__}. Correct its name."
            )
        return load_yaml(STOCK / stock_index()[name], resolve_func=resolve)

    def localised(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration with the local folder in place of the data set's name on the hub."""
        folder = self.datasets.get(config.get("dataset_path"))
        if folder is None:
            return config
        if not Path(folder).is_dir():
            raise UserError(
                f"{config['task']}: {folder}, the folder of {config['dataset_path']}, is not there. `langmerge prefetch` "
                f"makes it."
            )
        if "custom_dataset" in config:
            return {**config, "dataset_kwargs": {**config["dataset_kwargs"], "folder": folder}}
        splits = converted(Path(folder) / (config.get("dataset_name") or "default"))
        if splits:
            return {**config, "dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": {"data_files": splits}}
        return {**config, "dataset_path": str(readable_folder(Path(folder)))}


def imported(value: Any) -> Any:
    """A setting with the functions themselves in place of their names."""
    match value:
        case dict():
            return {key: imported(item) for key, item in value.items()}
        case list():
            return [imported(item) for item in value]
        case Function():
            return import_function(value.name, value.folder)
    return value


def converted(folder: Path) -> dict[str, list[str]]:
    """The files of each split, where a repository has the layout of the hub's Parquet conversion.

    That is configuration/split/0000.parquet, in the branch refs/convert/parquet: what can be read
    of a data set whose repository holds a script. It has no README that names configurations.
    """
    if (folder.parent / "README.md").is_file():
        return {}
    files = {split.name: sorted(split.glob("*.parquet")) for split in sorted(folder.glob("*/"))}
    return {split: [glob.escape(str(path)) for path in paths] for split, paths in files.items() if paths}


def flores(entry: dict[str, Any], resolve: bool) -> dict[str, Any]:
    """The translation task of an entry with `flores`, worded as lm-eval's stock tasks are.

    `flores` is {source: {code, name}, target: {code, name}}: a code of FLORES and the language's
    English name.
    """
    source, target = (entry["flores"][side] for side in ("source", "target"))
    base = read(SHIPPED / "flores.yaml").settings
    return {
        **(imported(base) if resolve else base),
        "task": entry["task"],
        "dataset_kwargs": {"source": source["code"], "target": target["code"]},
        "doc_to_text": f"{source['name']} sentence: {{{{sentence_{source['code']}}}}}\n{target['name']} sentence:",
        "doc_to_target": f"{{{{sentence_{target['code']}}}}}",
    }


@cache
def stock_index() -> dict[str, str]:
    """Name -> YAML, below STOCK, of lm-eval's tasks and groups.

    lm-eval parses its 14,000 YAML files to know them, which takes seconds; here one expression
    finds the name, and the answer is remembered in the user's cache.
    """
    kept = user_cache() / f"lm_eval-{lm_eval.__version__}-tasks.json"
    with contextlib.suppress(OSError, ValueError):
        return json.loads(kept.read_text(encoding="utf-8"))
    index = dict(found for path in sorted(STOCK.rglob("*.yaml")) for found in names(path))
    with contextlib.suppress(OSError):  # a home that is full or read-only: the next job looks again
        write_json(kept, index)
    return index


def names(path: Path) -> Iterator[tuple[str, str]]:
    """The name in a YAML file of lm-eval's, if there is one, and the file's path below STOCK."""
    match = NAME.search(path.read_text(encoding="utf-8"))
    if match:
        yield match[1], path.relative_to(STOCK).as_posix()
