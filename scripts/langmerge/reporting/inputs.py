"""Single files that reports are made from. Light: the grid names them too."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from langmerge.errors import UserError
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


def win_rates(path: Path, models: Collection[str], languages: Collection[str]) -> list[tuple[Path, dict[str, Any]]]:
    """What `langmerge votes collect` wrote, in the form of sealed results; nothing if it was not
    called.

    Args:
        models, languages: ids and codes of those of the run. Others are left out.

    Raises:
        UserError: the file does not hold win rates.
    """
    if not path.is_file():
        return []
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
        return [
            (
                path,
                {"cell": one["cell"], "scores": [score for score in one["scores"] if score["language"] in languages]},
            )
            for one in results
            if Model.of_columns(one["cell"]).id in models
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not hold win rates ({error!r}). Make it again: `langmerge votes collect`."
        ) from error
