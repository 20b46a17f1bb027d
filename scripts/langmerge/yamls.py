"""YAML from files and from the command line, with errors that name the file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from langmerge.errors import UserError

FLOAT_TO_OTHERS = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+")
"""Numbers of JSON and YAML 1.2 that YAML 1.1, which PyYAML reads, takes for text."""


class StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Reads YAML as yaml.safe_load does, but refuses what is probably a mistake: a key that is given
    twice, of which the last would win, and `1e-3`, which would be text."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        seen: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if isinstance(key, yaml.ScalarNode):
                earlier = seen.setdefault((key.tag, key.value), key)
                if earlier is not key:
                    raise yaml.constructor.ConstructorError(
                        None,
                        None,
                        f"the key {key.value} is given twice, first in line {earlier.start_mark.line + 1}. Remove one of them",
                        key.start_mark,
                    )
        return super().construct_mapping(node, deep)

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """A text; refused if it looks like a number and has no quotes."""
        text = self.construct_scalar(node)
        if not node.style and FLOAT_TO_OTHERS.fullmatch(text):
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"{text} is text to YAML. Write {as_yaml(text)}, or, if it is text, {text!r}",
                node.start_mark,
            )
        return text


StrictLoader.add_constructor("tag:yaml.org,2002:str", StrictLoader.construct_text)


def as_yaml(number: str) -> str:
    """A number as YAML 1.1 reads it: with a dot and a signed exponent."""
    mantissa, _, exponent = number.lower().partition("e")
    return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}e{exponent if exponent[0] in '+-' else f'+{exponent}'}"


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
        raise UserError(
            f"{path} is not UTF-8 but another encoding ({error}). Save it as UTF-8: iconv -f UTF-16 -t UTF-8, or -f LATIN1."
        ) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str, loader: type[StrictLoader] = StrictLoader) -> Any:
    """Return the content of YAML text; `where` is how messages call it."""
    try:
        return yaml.load(text, Loader=loader)
    except yaml.constructor.ConstructorError as error:
        mark = error.problem_mark
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}"
        raise UserError(f"{place}: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


def parse_text(text: str) -> Any:
    """Return the content of an argument that is JSON or YAML: JSON first, whose `1e-07` is text to
    YAML."""
    try:
        return json.loads(text, object_pairs_hook=without_duplicates)
    except ValueError:
        return parse_yaml(text, "the argument")


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def is_yaml_text(argument: str) -> bool:
    """Whether a command-line argument is YAML (or JSON) itself, rather than the path of a file."""
    return "\n" in argument or argument.lstrip().startswith(("{", "["))


def yaml_argument(argument: str) -> Any:
    """Return the content of a command-line argument that is a YAML file's path or YAML text itself.

    Raises:
        UserError: neither a readable file nor valid YAML with a mapping or a list at its top.
    """
    if is_yaml_text(argument):
        where, value = "the argument", parse_text(argument)
    elif Path(argument).is_file():
        where, value = argument, read_yaml(Path(argument))
    else:
        raise UserError(
            f"{argument}: no such file. Give the path of a YAML file, or YAML text that starts with '{{' or '['."
        )
    if not isinstance(value, dict | list):
        raise UserError(f"{where} holds {type(value).__name__}, expected a mapping or a list.")
    return value
