"""From one row per (model, task, seed) to one score per (model, language, measure), with its
interval.
"""

from __future__ import annotations

import math
from collections.abc import ItemsView, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special  # scipy.stats, which calls these, takes a second to load

from langmerge.measures import MEASURES
from langmerge.model import Model
from langmerge.reporting.scores import ALL, MODEL, NO_SEED
from langmerge.suspicion import kinds

LEVEL = 0.95
"""Coverage of every interval."""

SIDES = ("below", "above")


class Score(NamedTuple):
    """A model's score in one language and measure, in points; `mean` is NaN where the score is
    missing.

    `sd` is a standard deviation over seeds. `n` counts documents or instructions. `low` and `high`
    bound the 95% interval, which is about the choice of documents. All are NaN where they are not
    known. `remarks` say what is suspicious about the answers.
    """

    mean: float = math.nan
    sd: float = math.nan
    n: int | None = None
    low: float = math.nan
    high: float = math.nan
    remarks: frozenset[str] = frozenset()


class Summary:
    """The score of every (model, language, measure) on one part of the documents.

    A score is the mean over tasks of the mean over seeds. Its `sd` is the sample standard deviation
    (ddof = 1) over seeds of the mean over tasks, NaN with fewer than two seeds; its `n` counts each
    document once, whatever the number of seeds. A score is missing for a model that lacks any
    (task, seed) that another model has, because means over different tasks do not compare.

    The interval combines those of the tasks, which have different documents, as `combined` does.
    Seeds share their documents, so averaging over seeds does not make a task's interval narrower.
    """

    def __init__(self, scores: pd.DataFrame, part: str = ALL) -> None:
        """`scores`: as `read_scores` returns them."""
        self._frame = scores
        self._scores: dict[tuple[Model, str, str], Score] = {}
        shown = scores[scores["part"] == part]
        shown = shown.assign(**deviations(shown), model=shown.groupby(MODEL, dropna=False).ngroup())
        models = {row["model"]: Model.of_columns(row) for row in shown.drop_duplicates("model").to_dict("records")}
        for (language, measure), rows in shown.groupby(["language", "measure"]):
            grid = rows.pivot(index="model", columns=["task", "seed"], values=["value", "n", *SIDES])
            grid = grid[grid["value"].notna().all(axis=1)]
            remarks = {model: frozenset(kinds("; ".join(own))) for model, own in rows.groupby("model")["remarks"]}
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
                score = Score(mean, sd, None if math.isnan(n) else int(n), mean - below, mean + above, remarks[key])
                self._scores[models[key], language, measure] = score
        self.models = {model for model, _, _ in self._scores}
        self._scored = {(language, measure) for _, language, measure in self._scores}

    def on(self, part: str) -> Summary:
        """The same scores on another part of the documents: all, dev or test."""
        return Summary(self._frame, part)

    def scored(self, measures: Iterable[str], languages: Sequence[str]) -> list[str]:
        """Those of these measures that any model has a score of in one of the languages; all, if
        there is none.
        """
        measures = list(measures)
        known = [name for name in measures if any((language, name) in self._scored for language in languages)]
        return known or measures

    def has(self, language: str, measure: str) -> bool:
        """Whether any model has this score."""
        return (language, measure) in self._scored

    def half_width(self, measure: str) -> float:
        """Half the width of the median score's interval in a measure, NaN where none is known."""
        widths = [score.high - score.low for (_, _, name), score in self._scores.items() if name == measure]
        return float(np.nanmedian(widths)) / 2 if np.isfinite(widths).any() else math.nan

    def score(self, model: Model | None, language: str, measure: str) -> Score:
        """The score, or one with a NaN mean if it is missing."""
        return self._scores.get((model, language, measure), Score())

    def items(self) -> ItemsView[tuple[Model, str, str], Score]:
        """Every score there is, by model, language and measure."""
        return self._scores.items()

    def weights(self, backbone: str, method: str, targets: Iterable[tuple[str, ...]]) -> list[float]:
        """The weights, ascending, at which any of these targets has a score with this method."""
        targets = set(targets)
        return sorted(
            {
                model.weight
                for model in self.models
                if (model.backbone, model.method) == (backbone, method) and model.target in targets
            }
        )


def deviations(scores: pd.DataFrame) -> dict[str, np.ndarray]:
    """How far each row's 95% interval reaches `below` and `above` its value, in points.

    A share of n documents has Jeffreys' binomial interval (Brown, Cai and DasGupta 2001), which
    also holds at 0 and at 100. A row counts as a share if value * n is whole and its standard
    error, where given, is the binomial one. A rate has the normal interval of its log odds. Other
    scores, such as BLEU and Matthews' correlation, have the normal interval of their standard
    error, which lm-eval takes from a bootstrap.
    """
    share, n = scores["value"].to_numpy(float) / 100, scores["n"].to_numpy(float)
    stderr = pd.to_numeric(scores["stderr"], errors="coerce").to_numpy(float) / 100
    hits = np.round(share * n)
    with np.errstate(invalid="ignore", divide="ignore"):
        binomial = np.sqrt(share * (1 - share) / (n - 1))
        is_share = (share >= 0) & (share <= 1) & np.isclose(share * n, hits, rtol=0, atol=1e-6)
        is_share &= np.isnan(stderr) | np.isclose(stderr, binomial, rtol=1e-3)
    tail = (1 - LEVEL) / 2
    low = np.where(hits == 0, 0, special.betaincinv(hits + 0.5, n - hits + 0.5, tail))
    high = np.where(hits == n, 1, special.betainccinv(hits + 0.5, n - hits + 0.5, tail))
    normal = -special.ndtri(tail) * stderr
    below, above = np.where(is_share, share - low, normal), np.where(is_share, high - share, normal)
    is_rate = scores["measure"].isin([name for name, own in MEASURES.items() if own.interval == "log odds"]).to_numpy()
    below[is_rate], above[is_rate] = of_log_odds(share[is_rate], stderr[is_rate])
    return {"below": 100 * below, "above": 100 * above}


def of_log_odds(share: np.ndarray, stderr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the 95% interval of rates between 0 and 1 reaches below and above them: the normal
    interval of their log odds, whose standard error follows by the delta method.
    """
    odds, half = special.logit(share), -special.ndtri((1 - LEVEL) / 2) * stderr / (share * (1 - share))
    return share - special.expit(odds - half), special.expit(odds + half) - share


def compared(
    scores: pd.DataFrame, backbones: Iterable[str], methods: Iterable[str], beside: Iterable[str] = ()
) -> pd.DataFrame:
    """The scores of these backbones and methods.

    Args:
        beside: models that are shown for comparison, by the tasks that the others were asked.
    """
    own = scores[scores["backbone"].isin([*backbones])]
    shown = own["method"].isin([*methods])
    return own[shown | (own["method"].isin([*beside]) & own["task"].isin(own.loc[shown, "task"].unique()))]


def combined(scores: Iterable[Score]) -> Score:
    """The mean of scores, which is missing as soon as one is, with its interval.

    The distances of the bounds are combined as those of independent estimates (MOVER: Zou and
    Donner 2008). Where languages share parallel documents, this leaves their correlation out.
    """
    scores = list(scores)
    mean = sum(score.mean for score in scores) / len(scores)
    below = math.hypot(*(score.mean - score.low for score in scores)) / len(scores)
    above = math.hypot(*(score.high - score.mean for score in scores)) / len(scores)
    remarks = frozenset().union(*(score.remarks for score in scores))
    return Score(mean, low=mean - below, high=mean + above, remarks=remarks)


def language_score(
    model: Model, summary: Summary, criterion: Sequence[str], languages: Sequence[str] | None = None
) -> Score:
    """The mean over measures and languages: those of the criterion that have scores, and the
    model's targets.

    Args:
        languages: in place of the model's targets.
    """
    languages = languages or model.target
    measures = [name for name in criterion if any(summary.has(language, name) for language in languages)]
    scores = [summary.score(model, language, measure) for measure in measures for language in languages]
    return combined(scores) if scores else Score()


def chosen(candidates: Iterable[Model], summary: Summary, criterion: Sequence[str]) -> Model | None:
    """The merge with the highest `language_score`, the first of equals; None if none has one."""
    scores = {model: language_score(model, summary, criterion).mean for model in candidates}
    return max((model for model in scores if not math.isnan(scores[model])), key=scores.get, default=None)
