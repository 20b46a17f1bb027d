"""Reading scores.csv and averaging it: from one row a (model, task, seed) to one score a (model, language, measure)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from langmerge.errors import UserError

COLUMNS = (
    "backbone",
    "method",
    "target",
    "weight",
    "language",
    "measure",
    "task",
    "seed",
    "part",
    "value",
    "stderr",
    "n",
)
TEXT = ("backbone", "method", "target", "language", "measure", "task", "part")
REFERENCES = ("base", "instruct", "adapted", "joint")
"""What stands in the method column for models that are not merges."""

NO_SEED = -1
ALL, DEV, TEST = PARTS = ("all", "dev", "test")
"""What stands in the part column: a score over all documents, or over the development half or the rest."""

CRITERION = ["benchmark", "mt"]
"""The measures whose mean is the language score of a model, unless a table or a figure says otherwise."""

LEVEL = 0.95
"""Coverage of every interval."""


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
    """A model's score in one language and measure, in percent points; `mean` is NaN where it is missing.

    `low` and `high` bound the 95% interval, whose error is that of the choice of documents; NaN where it is not known.
    """

    mean: float = math.nan
    sd: float = math.nan
    n: int | None = None
    low: float = math.nan
    high: float = math.nan


class Summary:
    """The score of every (model, language, measure) on one part of the documents: the mean over tasks of the mean over seeds.

    `sd` is the sample standard deviation (ddof = 1) over seeds of the mean over tasks, NaN with fewer than two seeds; `n` counts
    documents (or instructions) once, not once a seed. A mean is missing for a model that lacks any (task, seed) which another model
    in `scores` has, because means over different tasks do not compare.

    The interval combines those of the tasks, which have different documents, as `combined` does. Seeds share their documents, so that
    averaging over them does not make the interval of a task narrower.
    """

    def __init__(self, scores: pd.DataFrame, part: str = ALL) -> None:
        self._frame = scores
        self._scores: dict[tuple[Model, str, str], Score] = {}
        shown = scores[scores["part"] == part]
        for (language, measure), rows in shown.assign(**deviations(shown)).groupby(["language", "measure"]):
            grid = rows.pivot(
                index=list(Model._fields), columns=["task", "seed"], values=["value", "n", "below", "above"]
            )
            grid = grid[grid["value"].notna().all(axis=1)]
            value = grid["value"].T.groupby(level="task").mean()
            seeds = grid["value"].loc[:, grid["value"].columns.get_level_values("seed") != NO_SEED]
            summary = pd.DataFrame(
                {
                    "mean": value.mean(),
                    "sd": seeds.T.groupby(level="seed").mean().std(ddof=1),
                    "n": grid["n"].T.groupby(level="task").max().sum(min_count=1),
                    **{
                        side: (grid[side] ** 2).T.groupby(level="task").mean().sum(skipna=False) ** 0.5 / len(value)
                        for side in SIDES
                    },
                }
            )
            for key, mean, sd, n, below, above in summary.itertuples(name=None):
                score = Score(mean, sd, None if math.isnan(n) else int(n), mean - below, mean + above)
                self._scores[Model(*key), language, measure] = score
        self.models = {model for model, _, _ in self._scores}
        self.measures = {measure for _, _, measure in self._scores}

    def on(self, part: str) -> Summary:
        """The same scores on another part of the documents: all, dev or test."""
        return Summary(self._frame, part)

    def half_width(self, measure: str) -> float:
        """Half the width of the median score's interval in this measure, NaN where none is known."""
        widths = [score.high - score.low for (_, _, name), score in self._scores.items() if name == measure]
        return float(np.nanmedian(widths)) / 2 if np.isfinite(widths).any() else math.nan

    def score(self, model: Model | None, language: str, measure: str) -> Score:
        """Return the score, or one with a NaN mean if it is missing."""
        return self._scores.get((model, language, measure), Score())

    def weights(self, backbone: str, method: str, targets: Iterable[str]) -> list[float]:
        """Return the weights, ascending, at which any of these targets was scored with this method."""
        targets = set(targets)
        return sorted(
            {model.weight for model in self.models if model[:2] == (backbone, method) and model.target in targets}
        )


SIDES = ("below", "above")


def deviations(scores: pd.DataFrame) -> dict[str, np.ndarray]:
    """How far each row's 95% interval reaches `below` and `above` its value, in percent points.

    A share of n documents has Jeffreys' binomial interval (Brown, Cai and DasGupta 2001), which also holds at 0 and at 100. A row counts as
    one if value * n is whole and its standard error, where given, is the binomial one. Other scores, such as BLEU and Matthews'
    correlation, have the normal interval of their standard error, which lm-eval takes from a bootstrap.
    """
    share, n = scores["value"].to_numpy(float) / 100, scores["n"].to_numpy(float)
    stderr = pd.to_numeric(scores["stderr"], errors="coerce").to_numpy(float) / 100
    hits = np.round(share * n)
    with np.errstate(invalid="ignore", divide="ignore"):
        binomial = np.sqrt(share * (1 - share) / (n - 1))
        is_share = (share >= 0) & (share <= 1) & np.isclose(share * n, hits, rtol=0, atol=1e-6)
        is_share &= np.isnan(stderr) | np.isclose(stderr, binomial, rtol=1e-3)
    tail = (1 - LEVEL) / 2
    low = np.where(hits == 0, 0, stats.beta.ppf(tail, hits + 0.5, n - hits + 0.5))
    high = np.where(hits == n, 1, stats.beta.isf(tail, hits + 0.5, n - hits + 0.5))
    normal = stats.norm.isf(tail) * stderr
    below, above = np.where(is_share, share - low, normal), np.where(is_share, high - share, normal)
    return {"below": 100 * below, "above": 100 * above}


def combined(scores: Iterable[Score]) -> Score:
    """Return the mean of scores, which is missing as soon as one is, with its interval.

    The distances of the bounds are combined as those of independent estimates (Zou and Donner 2008, MOVER); where languages share
    parallel documents this leaves their correlation out.
    """
    scores = list(scores)
    mean = sum(score.mean for score in scores) / len(scores)
    below = math.hypot(*(score.mean - score.low for score in scores)) / len(scores)
    above = math.hypot(*(score.high - score.mean for score in scores)) / len(scores)
    return Score(mean, low=mean - below, high=mean + above)


def chosen(candidates: Iterable[Model], summary: Summary, criterion: list[str]) -> Model | None:
    """Return the merge with the highest `language_score`, the first of equals; None if none has one."""
    scores = {model: language_score(model, summary, criterion).mean for model in candidates}
    return max((model for model in scores if not math.isnan(scores[model])), key=scores.get, default=None)


def language_score(model: Model, summary: Summary, criterion: list[str], languages: list[str] | None = None) -> Score:
    """Return the mean over those of these measures that were taken and over languages, by default the model's own target languages."""
    measures = [measure for measure in criterion if measure in summary.measures]
    scores = [
        summary.score(model, language, measure) for measure in measures for language in languages or model.languages
    ]
    return combined(scores) if scores else Score()


def read_scores(path: Path) -> pd.DataFrame:
    """Read scores.csv with one row a (model, language, measure, task, seed, part); empty targets are "", empty seeds -1, references' weights 0.

    Raises:
        UserError: no such file, not a CSV, a missing column, no rows, a value that is not a number, a merge without its weight, or a
            score given twice.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Make it with scripts/collect.py.")
    try:
        scores = pd.read_csv(
            path,
            dtype=dict.fromkeys(TEXT, str),
            keep_default_na=False,
            na_values={c: [""] for c in ("seed", *COLUMNS[-3:])},
        )
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not a CSV file of scores: {error}. Make it again with scripts/collect.py."
        ) from error
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
        raise UserError(
            f"{path}, line {lost.idxmax() + 2}: a merge ({scores['method'][lost.idxmax()]}) without a weight."
        )
    scores["weight"] = scores["weight"].mask(is_reference, 0.0).astype(float)
    scores["seed"] = scores["seed"].fillna(NO_SEED).astype(int)

    if (odd := ~scores["part"].isin(PARTS)).any():
        raise UserError(
            f"{path}, line {odd.idxmax() + 2}: part is {scores['part'][odd.idxmax()]!r}, expected {', '.join(PARTS)}."
        )

    key = [*Model._fields, "language", "measure", "task", "seed", "part"]
    if (twice := scores.duplicated(key)).any():
        raise UserError(
            f"{path}, line {twice.idxmax() + 2}: a second score for {dict(scores.loc[twice.idxmax(), key])}. Collect again."
        )
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
