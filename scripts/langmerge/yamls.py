"""YAML from files and from the command line, with errors that name the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from langmerge.errors import UserError


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        UserError: the file is not there, or not YAML in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}. Save it in that encoding.") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return the content of YAML text; `where` is how messages call it."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not YAML: {error}") from error


def is_yaml_text(argument: str) -> bool:
    """Whether a command-line argument is YAML (or JSON) itself, rather than the path of a file."""
    return "\n" in argument or argument.lstrip().startswith(("{", "["))


def yaml_argument(argument: str) -> Any:
    """Return the content of a command-line argument that is a YAML file's path or YAML text itself.

    Raises:
        UserError: neither a readable file nor valid YAML with a mapping or a list at its top.
    """
    if is_yaml_text(argument):
        where, value = "the argument", parse_yaml(argument, "the argument")
    elif Path(argument).is_file():
        where, value = argument, read_yaml(Path(argument))
    else:
        raise UserError(
            f"{argument}: no such file. Give the path of a YAML file, or YAML text that starts with '{{' or '['."
        )
    if not isinstance(value, dict | list):
        raise UserError(f"{where} holds {type(value).__name__}, expected a mapping or a list.")
    return value
