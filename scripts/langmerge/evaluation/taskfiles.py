"""Task files that are not lm-eval's own: how they are found, read and identified.

No lm-eval and no datasets: a dry run calls `content_key` for every task. A relative path in a YAML
file (`include`, the files of its data, the file of a `!function`) starts at the folder of that
file, whatever folder a command is called in.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from langmerge.errors import UserError
from langmerge.evaluation.modules import module_files
from langmerge.evaluation.units import digest
from langmerge.faults import Faults
from langmerge.files import sha256
from langmerge.yamls import twins

SHIPPED = Path(__file__).parent / "tasks"
"""Tasks that lm-eval lacks, or whose YAML there does not run with today's libraries."""

BASES = Path(__file__).parent / "mini"
"""Where the key `base` of a YAML file leads: settings that the miniature's tasks share."""

BUILDERS = frozenset(
    """arrow audiofolder conll csv eval fasta fastq genbank harbor hdf5 iceberg imagefolder json
    lance meshfolder mmcif niftifolder pandas parquet pdb pdffolder text tsfile videofolder vortex
    webdataset xml""".split()  # noqa: SIM905
)
"""File formats that `datasets` reads, which `dataset_path` may be instead of a repository."""


@dataclass(frozen=True)
class Function:
    """A function that a YAML file names with `!function`.

    Attributes:
        name: as it is written: module.function.
        folder: of the YAML file, where the module is looked for first.
    """

    name: str
    folder: Path


@dataclass(frozen=True)
class TaskFile:
    """The settings of a task or group.

    Attributes:
        path: of its YAML file.
        settings: of that file and of those that it includes; functions are `Function`s, paths are
            as they are written.
        folders: for each of the settings the folder of the file that it is written in.
    """

    path: Path
    settings: dict[str, Any]
    folders: dict[str, Path]

    @property
    def name(self) -> str:
        return name_of(self.settings) or self.path.stem

    @property
    def members(self) -> list[str]:
        """The names of a group's tasks; none for a task.

        Raises:
            UserError: they are not a list of names.
        """
        if "group" not in self.settings:
            return []
        found = self.settings.get("task")
        if not isinstance(found, list) or not all(isinstance(member, str) for member in found):
            raise UserError(f"{self.path}: the group {self.name!r} needs `task:` with a list of its tasks' names.")
        return found

    def data_folder(self) -> Path | None:
        """The local folder that `dataset_path` names.

        None for a repository of the hub and for a file format.

        Raises:
            UserError: it can only be a folder, and is not there.
        """
        name = self.settings.get("dataset_path")
        if not isinstance(name, str) or name in BUILDERS:
            return None
        folder = self.folders["dataset_path"] / Path(name).expanduser()
        if folder.is_dir():
            return folder
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise UserError(f"{self.path}: task {self.name!r}: dataset_path: there is no folder {folder}. {RELATIVE}")
        return None

    @property
    def is_fetched(self) -> bool:
        """Whether the data come from a repository of the hub."""
        name = self.settings.get("dataset_path")
        return isinstance(name, str) and name not in BUILDERS and self.data_folder() is None

    def start(self) -> Path:
        """The folder that local data are in: that relative names in `data_files` start at."""
        folder = self.data_folder() or self.folders["dataset_kwargs"]
        return folder / (self.kwargs.get("data_dir") or "")

    @property
    def kwargs(self) -> dict[str, Any]:
        return self.settings.get("dataset_kwargs") or {}

    def matching(self, pattern: str) -> list[Path]:
        """The files that one entry of `data_files` names, by name or by pattern, sorted.

        Raises:
            UserError: there are none, or the entry is an address.
        """
        where = f"{self.path}: task {self.name!r}: dataset_kwargs.data_files: {pattern!r}"
        if "://" in pattern:
            raise UserError(f"{where} is an address; nothing is fetched when a task runs. Name a local file.")
        start = self.start()
        if (start / pattern).is_file():
            return [start / pattern]
        names = glob.glob(pattern, root_dir=start, recursive=True)  # noqa: PTH207 - may be absolute
        files = [start / name for name in sorted(names) if (start / name).is_file()]
        if not files:
            raise UserError(f"{where}: no such file in {start}. {RELATIVE}")
        return files

    def contents(self) -> dict[str, str]:
        """Name and hash of every file in the folder of local data, but for hidden ones.

        Raises:
            UserError: there are none.
        """
        start = self.start()
        names = (path.relative_to(start) for path in sorted(start.rglob("*")) if path.is_file())
        found = {name.as_posix(): sha256(start / name) for name in names if not is_hidden(name)}
        if not found:
            raise UserError(f"{self.path}: task {self.name!r}: there are no data in {start}. {RELATIVE}")
        return found

    def fingerprint(self) -> dict[str, Any]:
        """The settings with hashes in place of what local files they name."""
        local: dict[str, Any] = {}
        if not self.is_fetched:
            kwargs = {name: value for name, value in self.kwargs.items() if name != "data_dir"}
            if "data_files" in kwargs:
                hashed = each(kwargs["data_files"], lambda name: [sha256(path) for path in self.matching(name)])
                local["dataset_kwargs"] = {**kwargs, "data_files": hashed}
            elif self.data_folder() or "data_dir" in self.kwargs:
                local |= {"dataset_kwargs": kwargs, "folder": self.contents()}
            if self.data_folder():
                local["dataset_path"] = None
        return plain({**self.settings, **local})


RELATIVE = "Correct the name, or put the data there; a relative path starts at the folder of the YAML file."


def each(data_files: Any, change: Callable[[str], Any]) -> Any:
    """`data_files` (a name, a list of names, or one of these per split) with every name changed."""
    if isinstance(data_files, dict):
        return {split: each(names, change) for split, names in data_files.items()}
    if isinstance(data_files, list):
        return [each(name, change) for name in data_files]
    return change(data_files)


# ---- finding and reading


def find(name: str, folders: Sequence[Path]) -> TaskFile | None:
    """The task or group of a name, in the first of the folders that has it; None if none has.

    Raises:
        UserError: two files of one folder have that name, or the file cannot be read.
    """
    for folder in folders:
        if name in index(folder.absolute()):
            return read(index(folder.absolute())[name])
    return None


@cache
def index(folder: Path) -> dict[str, Path]:
    """Name -> YAML file of the tasks and groups in a folder and the folders in it.

    Raises:
        UserError: two files have the same name, or a file is no YAML.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.yaml")):
        name = None if is_hidden(path.relative_to(folder)) else name_of(parsed(path))
        if name is None:
            continue
        if name in found:
            raise UserError(f"{folder}: two files define {name!r}: {found[name]} and {path}. Rename or delete one.")
        found[name] = path
    return found


def metrics_of(path: Path) -> list[str]:
    """The metrics that a task's YAML file names; none where it leaves them to lm-eval's defaults."""
    listed = read(path).settings.get("metric_list")
    found = [entry.get("metric") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return [metric for metric in found if isinstance(metric, str)]


def is_hidden(name: Path) -> bool:
    """Whether a part of a path starts with a dot, such as .ipynb_checkpoints."""
    return any(part.startswith(".") for part in name.parts)


def name_of(settings: Any) -> str | None:
    """The name of the task or group in a file; None for a base, which is only included."""
    if not isinstance(settings, dict):
        return None
    name = settings.get("group", settings.get("task"))
    return name if isinstance(name, str) else None


@cache
def read(path: Path) -> TaskFile:
    """Read a YAML file and those that it includes.

    Raises:
        UserError: one of them is missing, no YAML, or includes itself.
    """
    return merged(path.resolve(), ())


def merged(path: Path, including: tuple[Path, ...]) -> TaskFile:
    """The settings of a file and of those that it includes, merged as lm-eval merges them.

    A later include replaces what an earlier one says, and the file itself what both say.
    """
    if path in including:
        raise UserError(f"{path} includes itself, by way of {including[-1]}. Correct `include:`.")
    if not path.is_file():
        raise UserError(f"{including[-1]}: include: there is no {path}. Correct the name, or write that file.")
    own = parsed(path)
    if not isinstance(own, dict):
        raise UserError(f"{path} holds {type(own).__name__}, expected the settings of a task.")
    own = dict(own)
    included = own.pop("include", [])
    others = [path.parent / name for name in (included if isinstance(included, list) else [included])]
    if "base" in own:
        others.append(BASES / own.pop("base"))
    settings: dict[str, Any] = {}
    folders: dict[str, Path] = {}
    for other in others:
        base = merged(other.resolve(), (*including, path))
        settings |= base.settings
        folders |= base.folders
    settings.pop("task_list", None)
    return TaskFile(path, settings | own, folders | dict.fromkeys(own, path.parent))


@cache
def parsed(path: Path) -> Any:
    """The content of one YAML file, with `Function`s."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a YAML file of a task: {error}") from None


def loader(path: Path) -> type[yaml.SafeLoader]:
    """A safe loader that knows `!function`, and refuses a key that stands twice."""
    folder = path.resolve().parent

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            faults = Faults()
            faults.add(*twins(node, str(path)).values())
            faults.refuse()
            return super().construct_mapping(node, deep)

    Loader.add_constructor("!function", lambda loader, node: Function(loader.construct_scalar(node), folder))
    return Loader


# ---- what determines a result


def content_key(name: str, folders: Sequence[Path]) -> str | None:
    """Hash of all files that determine a task's results.

    They are its YAML file and what that includes, its functions and its local data.

    It follows content only: a folder may be moved, and a comment in a YAML file changes nothing.
    Code that is imported from installed packages and data sets of the hub are not in it: the lock
    file and revisions determine those. Answers are remembered for the life of the process.

    Args:
        name: of a task or a group.
        folders: where task files are looked for, the first one first; the tasks of a group are
            looked for in SHIPPED too.

    Raises:
        UserError: a file that the task needs is missing; the message names task, file and remedy.

    Returns:
        None if the name is in none of the folders: then it is one of lm-eval's tasks, which the
        lock file determines.
    """
    return key_in(name, tuple(folder.absolute() for folder in folders))


@cache
def key_in(name: str, folders: tuple[Path, ...]) -> str | None:
    """`content_key` of absolute folders."""
    file = find(name, folders)
    if file is None:
        return None
    everywhere = tuple(dict.fromkeys([*folders, SHIPPED]))
    return digest([file.fingerprint(), {member: key_in(member, everywhere) for member in file.members}])


def plain(value: Any) -> Any:
    """A setting as JSON can hold it, with hashes of the code in place of functions."""
    match value:
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case Function():
            files = module_files(value.name.rpartition(".")[0], value.folder)
            return {"function": value.name, "files": {name: sha256(path) for name, path in files.items()}}
    return json.loads(json.dumps(value, default=str))


def forget_files() -> None:
    """Read every file again from now on: what is remembered may have changed."""
    for remembered in (index, parsed, read, key_in):
        remembered.cache_clear()
