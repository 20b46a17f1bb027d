"""Single files that reports are made from. Light: the grid names them too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from langmerge.model import Model


class Answered(NamedTuple):
    """A sealed result, where it was read, and the folder of the answers behind it."""

    path: Path
    result: dict[str, Any]
    samples: Path


class Anatomy(NamedTuple):
    """What `langmerge merge --anatomy` wrote of one merge.

    Attributes:
        roles: a source model's folder, as the file names it -> "instruct" or the model's language.
    """

    path: Path
    model: Model
    roles: dict[str, str]
