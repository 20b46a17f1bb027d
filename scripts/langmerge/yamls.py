"""YAML from files and from the command line: its content, the line of each key, and what would be
misread.

YAML 1.1 takes some plain words for what they do not look like: `no` for false, `010` for eight,
`1e-3` for text. Such a word is refused with what to write instead, because a model that was merged
with another number than its recipe shows is worse than a message. So is a key that stands twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from langmerge.errors import UserError
from langmerge.faults import Faults, nearest

Key = tuple[str | int, ...]
"""The way to a value: names of keys and positions in lists."""

NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+")
"""What people write for a float, and YAML 1.1 reads as text unless it has a point and a sign."""


@dataclass(frozen=True)
class Document:
    """The content of a YAML text.

    Attributes:
        name: how messages call it: its path, or `the argument`.
        lines: the line of each key and of each item of a list; none for JSON.
    """

    name: str
    content: Any
    lines: dict[Key, int] = field(default_factory=dict)

    def line(self, key: Sequence[str | int]) -> int | None:
        """The line of a key or, where it is not there, of what it would be in."""
        names = tuple(key)
        while names and names not in self.lines:
            names = names[:-1]
        return self.lines.get(names)

    def at(self, key: Sequence[str | int] = ()) -> str:
        """How messages name a place: config/config.yaml:12: experiments.sweep.methods."""
        line, dotted = self.line(key), dotted_key(key)
        place = f"{self.name}:{line}" if line else self.name
        return f"{place}: {dotted}" if dotted else place


def dotted_key(key: Sequence[str | int]) -> str:
    return ".".join(map(str, key))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, None if it is empty.

    Raises:
        UserError: see `read_document`.
    """
    return read_document(path).content


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        UserError: the file is not there, a folder, not UTF-8 or not YAML, or something in it would
            be misread; the message names all lines.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        others = [other.name for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file.{nearest(path.name, others)}") from None
    except IsADirectoryError:
        inside = sorted(other.name for other in path.glob("*.y*ml"))[:5]
        found = f" It holds {', '.join(inside)}." if inside else ""
        raise UserError(f"{path} is a folder, expected a YAML file.{found}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    return parse_document(decoded(text, str(path)), str(path))


def decoded(text: bytes, name: str) -> str:
    """Text in UTF-8, without its byte order mark."""
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{name} is in UTF-16. Save it as UTF-8.")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name}:{line}: not UTF-8: the byte 0x{text[error.start]:02x}. Save the file in that encoding."
        ) from None


def parse_yaml(text: str, where: str) -> Any:
    """The content of YAML text; `where` is how messages call it."""
    return parse_document(text, where).content


def parse_document(text: str, name: str) -> Document:
    """Parse YAML, or JSON: what a program has written as JSON is read as JSON, where 1e-05 is a
    number.

    Raises:
        UserError: see `read_document`.
    """
    faults = Faults()

    def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in dict.fromkeys(keys):
            if keys.count(key) > 1:
                faults.add(f"{name}: {key}: the key stands twice. Keep one.")
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=without_twins)
    except (ValueError, RecursionError):
        return parse_plain_yaml(text, name)
    faults.refuse()
    return Document(name, content)


def parse_plain_yaml(text: str, name: str) -> Document:
    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines: dict[Key, int] = {}
        faults = Faults()
        if node is not None:
            faults.add(*walk(node, (), Document(name, None, lines), {}))
        faults.refuse()
        return Document(name, None if node is None else loader.construct_document(node), lines)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(
            f"{name} is not YAML, line {line}: the control character {chr(error.character)!r}. Delete it."
        ) from None
    except yaml.YAMLError as error:
        raise UserError(syntax_message(error, text, name)) from None
    except (ValueError, RecursionError) as error:  # a date such as 2024-13-01; thousands of brackets
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{name} is not YAML: {reason}.") from None
    finally:
        loader.dispose()


def walk(node: yaml.Node, key: Key, document: Document, complete: dict[int, bool]) -> Iterator[str]:
    """Note the lines of what a node holds, and yield what is wrong in it.

    Args:
        complete: for each node that was met, by identity, whether all of it was.
    """
    if id(node) in complete:
        if not complete[id(node)]:
            yield f"{document.at(key)}: the alias stands for what it is itself a part of. Delete it."
        return
    complete[id(node)] = False
    document.lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            document.lines[(*key, index)] = item.start_mark.line + 1
            yield from walk(item, (*key, index), document, complete)
    elif isinstance(node, yaml.MappingNode):
        repeated = twins(node, document.name, key)
        for name, value in node.value:
            if name in repeated:
                yield repeated[name]
            word = name.value if isinstance(name, yaml.ScalarNode) else ""
            inner = (*key, word)
            document.lines[inner] = name.start_mark.line + 1
            if advice := misread(name):
                yield f"{document.at(inner)}: {advice}"
            elif name.tag.rpartition(":")[2] not in ("str", "merge"):
                yield f'{document.at(inner)}: expected a name as the key. Write "{word}" in quotes.'
            yield from walk(value, inner, document, complete)
    elif advice := misread(node):
        yield f"{document.at(key)}: {advice}"
    complete[id(node)] = True


def twins(node: yaml.MappingNode, document: str, key: Key = ()) -> dict[yaml.Node, str]:
    """What is wrong with the keys of a mapping that stood in it before; `key` is the way to it."""
    first: dict[str, int] = {}
    found = {}
    for name, _ in node.value:
        if isinstance(name, yaml.ScalarNode) and name.value:
            line = name.start_mark.line + 1
            if name.value in first:
                place = f"{document}:{line}: {dotted_key((*key, name.value))}"
                found[name] = f"{place}: the key stands twice, first in line {first[name.value]}. Keep one."
            first.setdefault(name.value, line)
    return found


def misread(node: yaml.Node) -> str:
    """What to write instead of a plain scalar that YAML takes for something else than it looks
    like; nothing for the others.
    """
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return ""
    text, kind = node.value, node.tag.rpartition(":")[2]
    if kind == "bool" and text.lower() not in ("true", "false"):
        meaning = "true" if text.lower() in ("yes", "on") else "false"
        return f'YAML reads {text} as {meaning}. Write "{text}" in quotes for the word, or {meaning}.'
    if kind == "timestamp":
        return f'YAML reads {text} as a date. Write "{text}" in quotes.'
    if kind in ("int", "float") and ":" in text:
        return f'YAML reads {text} as a number in base 60. Write "{text}" in quotes.'
    if kind == "int" and re.fullmatch(r"[-+]?0[0-7_]+", text):
        plain = text.lstrip("+-0_") or "0"
        return f'YAML reads {text} as the octal number {int(text.replace("_", ""), 8)}. Write {plain}, or "{text}" for text.'
    if kind == "str" and NUMBER.fullmatch(text):
        return f'YAML reads {text} as text. Write {written_out(text)} for the number, or "{text}" in quotes for text.'
    return ""


def written_out(number: str) -> str:
    """A number with an exponent as YAML 1.1 reads it: 1e-3 as 1.0e-3."""
    mantissa, exponent = re.split("[eE]", number)
    mantissa = mantissa if "." in mantissa else mantissa + ".0"
    return f"{mantissa}e{exponent if exponent[0] in '+-' else f'+{exponent}'}"


def syntax_message(error: yaml.YAMLError, text: str, name: str) -> str:
    """What is wrong with text that is not YAML: the line, what stands there, and what to write."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    if mark is None:
        return f"{name} is not YAML: {problem}."
    lines = text.splitlines()
    line = lines[mark.line].strip() if mark.line < len(lines) else ""
    found = f" in {line[:80]!r}" if line else ""
    return f"{name} is not YAML, line {mark.line + 1}: {problem}{found}.{syntax_advice(problem, line, lines[: mark.line + 1])}"


def syntax_advice(problem: str, line: str, before: Sequence[str]) -> str:
    """What to write instead, where that is known."""
    if "'\\t'" in problem or any(other.startswith("\t") for other in before[-1:]):
        return " Indent with spaces, not with tabs."
    if re.search(r"(?<![\"'\w])[\w.-]*\{\w+\}", line) or re.search(r"\w\{\w+\}", line):
        return ' Write text with braces in quotes: "{language}".'
    if "mapping values are not allowed" in problem:
        return " Write text that holds a colon in quotes, and begin keys of one mapping in the same column."
    if "another document" in problem:
        return " Keep one document: delete the line ---."
    if "could not determine a constructor" in problem:
        return " Write text that begins with ! in quotes."
    if "alias" in problem or "cannot start any token" in problem:
        return " Write text that begins with a special character in quotes."
    if "end of stream" in problem or "<stream end>" in problem or "',' or" in problem:
        return " A bracket or a quote is not closed, or a comma is missing."
    return ""


def is_yaml_text(argument: str) -> bool:
    """Whether a command-line argument is YAML (or JSON) itself, rather than the path of a file."""
    return "\n" in argument or argument.lstrip().startswith(("{", "["))


def yaml_argument(argument: str) -> Any:
    """Return the content of a command-line argument that is a YAML file's path or YAML text itself.

    Raises:
        UserError: neither a readable file nor valid YAML with a mapping or a list at its top.
    """
    return document_argument(argument).content


def document_argument(argument: str) -> Document:
    """`yaml_argument` with the lines of its keys."""
    if is_yaml_text(argument):
        document = parse_document(argument, "the argument")
    elif not named_path(argument).exists():
        raise UserError(
            f"{argument}: no such file. Give the path of a YAML file, or YAML text that starts with '{{' or '['."
        )
    else:
        document = read_document(Path(argument))
    if not isinstance(document.content, dict | list):
        found = "is empty" if document.content is None else f"holds {type(document.content).__name__}"
        raise UserError(f"{document.name} {found}, expected a mapping or a list.")
    return document


def named_path(argument: str) -> Path:
    """The path that an argument names.

    Raises:
        UserError: nothing can have that name.
    """
    try:
        Path(argument).exists()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{argument[:80]!r}: {getattr(error, 'strerror', None) or error}. Give the path of a YAML file."
        ) from None
    return Path(argument)
