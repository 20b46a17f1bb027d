"""Local data of tasks as `datasets` can read them, wherever they are and whatever their name."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from langmerge.evaluation.taskfiles import TaskFile, each
from langmerge.evaluation.units import digest
from langmerge.files import new_directory, user_cache


def with_local_data(file: TaskFile) -> dict[str, Any]:
    """A task's settings with absolute paths of its local data.

    So it does not matter in which folder a command is called.

    Raises:
        UserError: a file is not there.
    """
    settings, kwargs = file.settings, dict(file.kwargs)
    folder = file.data_folder()
    if file.is_fetched or not (kwargs or folder):
        return settings
    # A function opens paths as they are, `datasets` takes them for patterns.
    is_function = "custom_dataset" in settings
    if "data_files" in kwargs:
        if is_function:
            kwargs["data_files"] = each(kwargs["data_files"], lambda name: str(file.start() / name))
        else:
            kwargs["data_files"] = patterns(each(kwargs["data_files"], lambda name: escaped(file, name)))
    if "data_dir" in kwargs and folder is None:
        kwargs["data_dir"] = str(file.start() if is_function else readable_folder(file.start()))
    local = {"dataset_path": str(readable_folder(folder))} if folder else {}
    return {**settings, **local, **({"dataset_kwargs": kwargs} if kwargs else {})}


def escaped(file: TaskFile, pattern: str) -> list[str]:
    """The files that a pattern matches, each as a pattern that matches only itself."""
    return [glob.escape(str(path.absolute())) for path in file.matching(pattern)]


def patterns(data_files: Any) -> Any:
    """`data_files` with one flat list of names per split."""
    if isinstance(data_files, dict):
        return {split: patterns(names) for split, names in data_files.items()}
    return [name for item in data_files for name in (item if isinstance(item, list) else [item])]


def readable_folder(folder: Path) -> Path:
    """The folder, or a copy of it, made of links, that `datasets` can read.

    `datasets` takes [, * and ? in a folder's path for parts of a pattern.
    """
    folder = folder.resolve()
    if not glob.has_magic(str(folder)):
        return folder
    files = {path.relative_to(folder): path.resolve() for path in sorted(folder.rglob("*")) if path.is_file()}
    # `datasets` keeps what it has read by the dates of the links: another copy where a file has
    # changed.
    copy = user_cache() / "links" / digest([[str(name), state(path)] for name, path in files.items()])
    if not copy.is_dir():
        with new_directory(copy) as partial:
            for name, path in files.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).symlink_to(path)
    return copy


def state(path: Path) -> list[str | int]:
    """What changes when a file does."""
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]
