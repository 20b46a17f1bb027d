"""Mistakes of a user, gathered so that one message names all of them; and how a message says what
was found and what is known.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from langmerge.errors import UserError

SHORT = 80
"""Characters of a wrong value that a message shows."""


class Faults:
    """The mistakes found so far, each a message of its own."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, *messages: str) -> None:
        self.messages += [message for message in messages if message not in self.messages]

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the mistake that the block ends with, and go on after it."""
        try:
            yield
        except UserError as error:
            self.add(*str(error).split("\n"))

    def refuse(self, note: str = "") -> None:
        """End with all of them, one per line, and a note behind the last.

        Raises:
            UserError: there are some.
        """
        if self.messages:
            raise UserError("\n".join(self.messages) + note)


def nearest(name: Any, known: Iterable[Any]) -> str:
    """ " Did you mean 'linear'?", or nothing where no known name is like the given one."""
    found = difflib.get_close_matches(str(name), [str(other) for other in known], n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def shown(value: Any) -> str:
    """A wrong value as a message shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= SHORT else f"{text[: SHORT - 3]}..."
