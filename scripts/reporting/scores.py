"""Reading scores.csv and averaging it: from one row a (model, task, seed) to one score a (model, language, measure)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from common import UserError

COLUMNS = ("backbone", "method", "target", "weight", "language", "measure", "task", "seed", "value", "stderr", "n")
TEXT = ("backbone", "method", "target", "language", "measure", "task")
REFERENCES = ("base", "instruct", "adapted", "joint")
"""What stands in the method column for models that are not merges."""

NO_SEED = -1


class Model(NamedTuple):
    """One model of the grid. Reference models have no weight: theirs is 0 here, whatever the file says."""

    backbone: str
    method: str
    target: str = ""
    weight: float = 0.0

    @property
    def languages(self) -> list[str]:
        """The languages merged in."""
        return self.target.split("+")


class Score(NamedTuple):
    """A model's score in one language and measure, in percent points; `mean` is NaN where it is missing."""

    mean: float = math.nan
    sd: float = math.nan
    n: int | None = None


class Summary:
    """The score of every (model, language, measure): the mean over tasks of the mean over seeds.

    `sd` is the sample standard deviation (ddof = 1) over seeds of the mean over tasks, NaN with fewer than two seeds; `n` counts
    documents (or instructions) once, not once a seed. A mean is missing for a model that lacks any (task, seed) which another model
    in `scores` has, because means over different tasks do not compare.
    """

    def __init__(self, scores: pd.DataFrame) -> None:
        self._scores: dict[tuple[Model, str, str], Score] = {}
        for (language, measure), part in scores.groupby(["language", "measure"]):
            grid = part.pivot(index=list(Model._fields), columns=["task", "seed"], values=["value", "n"])
            value = grid["value"].dropna()
            seeds = value.loc[:, value.columns.get_level_values("seed") != NO_SEED]
            summary = pd.DataFrame(
                {
                    "mean": value.T.groupby(level="task").mean().mean(),
                    "sd": seeds.T.groupby(level="seed").mean().std(ddof=1),
                    "n": grid["n"].loc[value.index].T.groupby(level="task").max().sum(min_count=1),
                }
            )
            for key, mean, sd, n in summary.itertuples(name=None):
                self._scores[Model(*key), language, measure] = Score(mean, sd, None if math.isnan(n) else int(n))
        self.models = {model for model, _, _ in self._scores}

    def score(self, model: Model | None, language: str, measure: str) -> Score:
        """Return the score, or one with a NaN mean if it is missing."""
        return self._scores.get((model, language, measure), Score())

    def weights(self, backbone: str, method: str, targets: Iterable[str]) -> list[float]:
        """Return the weights, ascending, at which any of these targets was scored with this method."""
        targets = set(targets)
        return sorted({model.weight for model in self.models if model[:2] == (backbone, method) and model.target in targets})


def mean(values: Iterable[float]) -> float:
    """Return the mean, which is NaN as soon as one value is."""
    values = list(values)
    return sum(values) / len(values)


def read_scores(path: Path) -> pd.DataFrame:
    """Read scores.csv with one row a (model, language, measure, task, seed); empty targets are "", empty seeds -1, references' weights 0.

    Raises:
        UserError: no such file, not a CSV, a missing column, no rows, a value that is not a number, a merge without its weight, or a
            score given twice.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Make it with scripts/collect.py.")
    try:
        scores = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values={c: [""] for c in COLUMNS[-4:]})
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV file of scores: {error}. Make it again with scripts/collect.py.") from error
    if missing := [column for column in COLUMNS if column not in scores]:
        raise UserError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(map(str, scores.columns))}; expected {', '.join(COLUMNS)}."
        )
    if scores.empty:
        raise UserError(f"{path} has no scores, only a header. Evaluate a model first, then collect again.")

    for column in ("weight", "seed", "value", "n"):
        numbers = pd.to_numeric(scores[column].replace("", None), errors="coerce")
        wrong = numbers.isna() & scores[column].notna() & (scores[column] != "")
        if wrong.any():
            raise UserError(
                f"{path}, line {wrong.idxmax() + 2}: {column} is {scores[column][wrong.idxmax()]!r}, expected a number or nothing."
            )
        scores[column] = numbers
    is_reference = scores["method"].isin(REFERENCES)
    if (lost := scores["weight"].isna() & ~is_reference).any():
        raise UserError(f"{path}, line {lost.idxmax() + 2}: a merge ({scores['method'][lost.idxmax()]}) without a weight.")
    scores["weight"] = scores["weight"].mask(is_reference, 0.0).astype(float)
    scores["seed"] = scores["seed"].fillna(NO_SEED).astype(int)

    key = [*Model._fields, "language", "measure", "task", "seed"]
    if (twice := scores.duplicated(key)).any():
        raise UserError(f"{path}, line {twice.idxmax() + 2}: a second score for {dict(scores.loc[twice.idxmax(), key])}. Collect again.")
    return scores


def read_spec(kind: type, value: Any) -> Any:
    """Return `kind(**value)`, a dataclass of a table's or a figure's settings.

    Raises:
        UserError: not a mapping, an unknown key, or a required key that is missing.
    """
    fields = kind.__dataclass_fields__
    if not isinstance(value, dict):
        raise UserError(f"the spec is a {type(value).__name__}, expected a mapping with the keys {', '.join(fields)}.")
    if unknown := [str(key) for key in value if key not in fields]:
        raise UserError(f"the spec has the unknown key {', '.join(unknown)}; known: {', '.join(fields)}.")
    try:
        return kind(**value)
    except TypeError as error:
        raise UserError(f"the spec lacks a key: {error}") from error
