"""What a table or a figure is told to show: the options of its layout and what the grid adds."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from langmerge.errors import UserError

Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every layout is told.

    Attributes:
        languages: those that the run merges in, in the order of columns and legends.
        labels: what backbones, methods and languages are called in print: {backbones: {name:
            label}, methods: {...}, languages: {...}}.
    """

    languages: list[str]
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    title: str = ""

    def label(self, kind: str, name: str) -> str:
        """What a backbone, a method or a language (`kind`: backbones, methods, languages) is
        called.
        """
        return self.labels.get(kind, {}).get(name, name)


@dataclass(frozen=True, kw_only=True)
class TableSpec(Spec):
    """What every table is told.

    Attributes:
        evaluation_languages: languages that are tested but not merged in.
        measures: those that are shown, for layouts that have a choice; without them, each layout
            shows its own.
    """

    backbones: list[str]
    evaluation_languages: list[str] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)

    @property
    def tested(self) -> list[str]:
        """All languages that models are tested in."""
        return [*self.languages, *self.evaluation_languages]


def read_spec(kind: type[Kind], value: Any) -> Kind:
    """Return `kind(**value)`, a dataclass of a report's settings.

    Raises:
        UserError: not a mapping, an unknown key, a required key that is missing, or an empty list
            of languages, backbones or methods.
    """
    known = [entry.name for entry in fields(kind)]
    if not isinstance(value, dict):
        raise UserError(f"the spec is a {type(value).__name__}, expected a mapping with the keys {', '.join(known)}.")
    if unknown := [str(key) for key in value if key not in known]:
        raise UserError(f"the spec has the unknown key {', '.join(unknown)}; known: {', '.join(known)}.")
    required = [entry.name for entry in fields(kind) if entry.default is MISSING and entry.default_factory is MISSING]
    if lacking := [name for name in required if name not in value]:
        raise UserError(f"the spec lacks the key {', '.join(lacking)}.")
    for key in {"languages", "backbones", "methods"} & value.keys():
        names = value[key]
        if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
            raise UserError(
                f"{key}: found {names!r}, expected a list with at least one name."
                " (Quote the words no, on and yes in YAML.)"
            )
    return kind(**value)
