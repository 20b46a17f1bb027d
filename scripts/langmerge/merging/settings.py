"""Values that a recipe may give by layer and by tensor, as in mergekit's YAML."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langmerge.errors import UserError


@dataclass(frozen=True)
class Setting:
    """The values of one parameter.

    Attributes:
        choices: (filter, values). The first choice whose filter is part of a tensor's name, or
            None, applies to it. Several `values` are a gradient: they are spread evenly over the
            layers, with linear interpolation between them.
    """

    choices: tuple[tuple[str | None, tuple[Any, ...]], ...]

    @classmethod
    def constant(cls, value: Any) -> Setting:
        return cls(((None, (value,)),))

    @classmethod
    def read(cls, value: Any, where: str, check: Callable[[Any, str], Any], gradients: bool) -> Setting:
        """Read a value of a recipe: one value, a list (a gradient), or a list of {filter: ...,
        value: one or a list}, or one of these.

        Raises:
            UserError: it is none of these, or `check` refuses one of the values.
        """
        value = [value] if isinstance(value, dict) else value
        if not isinstance(value, list) or not any(isinstance(choice, dict) for choice in value):
            return cls(((None, read_values(value, where, check, gradients)),))
        choices = []
        for index, choice in enumerate(value):
            here = f"{where}[{index}]"
            if not isinstance(choice, dict) or "value" not in choice or not set(choice) <= {"filter", "value"}:
                raise UserError(
                    f"{here} is {choice!r}, expected {{filter: part of a tensor's name, value: ...}}, or {{value: ...}} "
                    "for the rest."
                )
            pattern = choice.get("filter")
            if pattern is not None and not isinstance(pattern, str):
                raise UserError(
                    f"{here}: filter is {pattern!r}, expected a part of a tensor's name, such as self_attn."
                )
            values = read_values(choice["value"], here, check, gradients)
            choices.append((None if pattern == "*" else pattern, values))
        return cls(tuple(choices))

    @property
    def is_complete(self) -> bool:
        """Whether there is a value for tensors that no filter matches."""
        return any(pattern is None for pattern, _ in self.choices)

    def otherwise(self, other: Setting) -> Setting:
        """This setting, and `other` for tensors that have no value here."""
        return Setting(self.choices + other.choices)

    def at(self, tensor: str, depth: float) -> Any:
        """The value for a tensor at a depth from 0 (the first layer) to 1 (the last layer)."""
        values = next(values for pattern, values in self.choices if pattern is None or pattern in tensor)
        if len(values) == 1:
            return values[0]
        position = depth * (len(values) - 1)
        below = min(math.floor(position), len(values) - 2)
        share = position - below
        return (1 - share) * values[below] + share * values[below + 1]


def read_values(value: Any, where: str, check: Callable[[Any, str], Any], gradients: bool) -> tuple[Any, ...]:
    """One value, or the values of a gradient."""
    if not isinstance(value, list):
        return (check(value, where),)
    if not gradients:
        raise UserError(f"{where} is {value!r}, expected one value: only numbers can be a gradient.")
    if not value:
        raise UserError(f"{where} is an empty list, expected a number, or numbers to interpolate over the layers.")
    return tuple(check(number, f"{where}[{index}]") for index, number in enumerate(value))
