"""What the reports of a run are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from langmerge.model import Model
from langmerge.reporting.inputs import Anatomy, Answered, Counts


@dataclass(frozen=True)
class Sources:
    """The data of one run. A layout looks only at what it reads.

    Attributes:
        scores: scores.csv, as `read_scores` returns it, or the same table made from `answers`; None
            where no layout reads either.
        models: all models of the run, also those without a score so far.
        answers: the run's results, with their answers.
        anatomies: of the run's merges.
        corpora: of the run.
        searches: the records of those that are done.
        histories: of the trainings that are measured on held-out text, by the model's id.
        published: the folder of the published numbers that the run is compared with.
        recipes: id of a merge -> how it is made, with ids in place of folders.
        families: name of a task -> what the configuration calls it in all languages.
        candidates: codes of the languages that an answer may be in.
        threads: processes that may read answers at once.
    """

    scores: pd.DataFrame | None = None
    models: list[Model] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    anatomies: list[Anatomy] = field(default_factory=list)
    corpora: list[Counts] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)
    histories: dict[str, Path] = field(default_factory=dict)
    published: Path | None = None
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)
    candidates: list[str] = field(default_factory=list)
    threads: int = 1
