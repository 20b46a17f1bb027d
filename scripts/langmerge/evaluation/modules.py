"""The Python files behind a `!function` of a task's YAML. They are read, not imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from langmerge.errors import UserError


def module_files(module: str, folder: Path) -> dict[str, Path]:
    """The file of a module in a YAML file's folder, and those beside it that it imports.

    Returns:
        Name from that folder -> path; nothing for a module of an installed package.

    Raises:
        UserError: there is no such module, or a file is not Python.
    """
    start = folder / f"{module.replace('.', '/')}.py"
    if not start.is_file():
        if not module or find_spec(module.partition(".")[0]) is None:
            raise UserError(
                f"{folder}: a task names a function of the module {module!r} (`!function`), which is neither the file "
                f"{start} nor installed. Correct the name, or write that file."
            )
        return {}
    found: dict[str, Path] = {}
    waiting = [start]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(folder).as_posix()
        if name not in found:
            found[name] = path
            waiting += imported(path, folder)
    return dict(sorted(found.items()))


def imported(path: Path, folder: Path) -> Iterator[Path]:
    """The files below the folder that a Python file imports."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not Python: {error}. Correct it; a task names it (`!function`).") from None
    for node in ast.walk(tree):
        names: list[str] = []
        origins = [path.parent] if path.parent == folder else [path.parent, folder]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}".strip(".") for alias in node.names)]
            if node.level:
                origins = [[path.parent, *path.parent.parents][node.level - 1]]
        for name in filter(None, names):
            parts = name.split(".")
            for origin in origins:
                for count in range(1, len(parts) + 1):
                    module_path = origin.joinpath(*parts[:count])
                    candidates = (module_path.with_name(f"{module_path.name}.py"), module_path / "__init__.py")
                    yield from (file for file in candidates if file.is_file() and file.is_relative_to(folder))
