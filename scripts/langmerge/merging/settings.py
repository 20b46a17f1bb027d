"""Values that a recipe may give by layer and by tensor, as in mergekit's YAML."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langmerge.errors import UserError


@dataclass(frozen=True)
class Setting:
    """A parameter's values.

    Attributes:
        choices: (filter, values): the first whose filter is a part of the tensor's name, or None, holds there. One of several
            `values` is a gradient: they are spread evenly over the layers and interpolated linearly between them.
    """

    choices: tuple[tuple[str | None, tuple[Any, ...]], ...]

    @classmethod
    def constant(cls, value: Any) -> Setting:
        return cls(((None, (value,)),))

    @classmethod
    def read(cls, value: Any, where: str, check: Callable[[Any, str], Any], gradients: bool) -> Setting:
        """A value as YAML gave it: one, a list (a gradient), or a list of {filter: ..., value: one or a gradient}.

        Raises:
            UserError: it is none of these, or `check` refuses one of the values.
        """
        if not isinstance(value, list) or not any(isinstance(each, dict) for each in value):
            return cls(((None, read_values(value, where, check, gradients)),))
        choices = []
        for place, each in enumerate(value):
            here = f"{where}[{place}]"
            if not isinstance(each, dict) or "value" not in each or not set(each) <= {"filter", "value"}:
                raise UserError(
                    f"{here} is {each!r}, expected {{filter: part of a tensor's name, value: ...}}, or {{value: ...}} for the rest."
                )
            pattern = each.get("filter")
            if pattern is not None and not isinstance(pattern, str):
                raise UserError(
                    f"{here}: filter is {pattern!r}, expected a part of a tensor's name, such as self_attn."
                )
            choices.append((None if pattern == "*" else pattern, read_values(each["value"], here, check, gradients)))
        return cls(tuple(choices))

    @property
    def is_complete(self) -> bool:
        """Whether there is a value for tensors that no filter matches."""
        return any(pattern is None for pattern, _ in self.choices)

    def otherwise(self, other: Setting) -> Setting:
        """This, and `other` where this has no value."""
        return Setting(self.choices + other.choices)

    def at(self, tensor: str, depth: float) -> Any:
        """The value for a tensor at a depth from 0 (the first layer) to 1 (the last)."""
        values = next(values for pattern, values in self.choices if pattern is None or pattern in tensor)
        if len(values) == 1:
            return values[0]
        place = depth * (len(values) - 1)
        below = min(math.floor(place), len(values) - 2)
        share = place - below
        return (1 - share) * values[below] + share * values[below + 1]


def read_values(value: Any, where: str, check: Callable[[Any, str], Any], gradients: bool) -> tuple[Any, ...]:
    if not isinstance(value, list):
        return (check(value, where),)
    if not gradients:
        raise UserError(f"{where} is {value!r}, expected one value: only numbers can be a gradient.")
    if not value:
        raise UserError(f"{where} is an empty list, expected a number, or numbers to interpolate over the layers.")
    return tuple(check(each, f"{where}[{place}]") for place, each in enumerate(value))
