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


class Counts(NamedTuple):
    """What Table 1 says of a corpus, and where it stands.

    Attributes:
        name, language: of the corpus.
        selected: folder with counts.json of the clean and the selected text.
        searched: folder with report.json, of the search for items of benchmarks.
        tokens: backbone -> folder of the tokens, with <part>/meta.json.
    """

    name: str
    language: str
    selected: Path
    searched: Path
    tokens: dict[str, Path]
