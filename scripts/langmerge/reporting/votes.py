"""The win rates of blind votes that come back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import choix
import numpy as np
from scipy.sparse.csgraph import connected_components

from langmerge.errors import UserError
from langmerge.measures import VOTES
from langmerge.model import Model
from langmerge.reporting.ballot import digest
from langmerge.reporting.scores import ALL, DEV, TEST
from langmerge.reporting.summary import of_log_odds

CHOICES = {"left": (1, 0), "right": (0, 1), "both_good": (0.5, 0.5), "both_bad": (0.5, 0.5)}
"""By what a voter chose: what the left and the right answer win. A tie is half a win for each."""

REGULARISATION = 0.1
"""Of choix: it keeps the strength of a cell finite that has won or lost every vote."""

RESAMPLES = 1000


class Vote(NamedTuple):
    """One vote: its prompt and the half that this is in, numbers of two cells, and the choice."""

    prompt: str
    part: str
    left: int
    right: int
    choice: str


@dataclass(frozen=True)
class Estimate:
    """A win rate and its standard error over the choice of prompts, in percent, and how many
    prompts there are; named as in sealed results.
    """

    value: float
    stderr: float
    n: int


@dataclass(frozen=True)
class Rate:
    """What a cell has won in a language.

    A win rate is the chance that its answer is preferred to that of another cell of the pages in
    that language, the mean over the others.

    Attributes:
        parts: the win rate by the prompts of each part: all, dev and test. A half whose votes do
            not connect all cells is missing.
        counts: of votes that its answers have won or lost, and of those that were ties.
        fingerprint: of the votes. Win rates of other votes do not compare.
    """

    language: str
    cell: str
    parts: Mapping[str, Estimate]
    counts: Mapping[Literal["won", "lost", "both_good", "both_bad"], int]
    voters: int
    fingerprint: str

    @property
    def rate(self) -> float:
        """By all prompts."""
        return self.parts[ALL].value

    @property
    def interval(self) -> tuple[float, float]:
        """The bounds of its 95% interval."""
        share, stderr = np.array(self.rate) / 100, np.array(self.parts[ALL].stderr) / 100
        below, above = of_log_odds(share, stderr)
        return self.rate - 100 * float(below), self.rate + 100 * float(above)


def results(rates: Iterable[Rate]) -> list[dict[str, Any]]:
    """The win rates in the form of sealed results, as `inputs.win_rates` reads them."""
    return [
        {
            "cell": Model.parse(rate.cell).columns(),
            "scores": [
                {
                    "language": rate.language,
                    "measure": VOTES,
                    "task": f"{VOTES}_{rate.language}",
                    "metric": "win_rate",
                    "seed": None,
                    "fingerprint": rate.fingerprint,
                    **asdict(rate.parts[ALL]),
                    "parts": {part: asdict(own) for part, own in rate.parts.items() if part != ALL},
                }
            ],
        }
        for rate in rates
    ]


def rates(keys: Mapping[str, dict[str, Any]], votes: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[Rate]:
    """The win rates of every cell, by language, the best first.

    Args:
        keys, votes: as `votes_files.read_keys` and `votes_files.read_votes` return them.

    Raises:
        UserError: the votes of a language do not connect all cells.
    """
    languages: dict[str, list[str]] = {}
    for name in votes:
        languages.setdefault(keys[name]["language"], []).append(name)
    return [rate for language, names in sorted(languages.items()) for rate in of_language(language, names, keys, votes)]


def of_language(language: str, names: Sequence[str], keys: Mapping[str, Any], votes: Mapping[str, Any]) -> list[Rate]:
    cells = list(dict.fromkeys(cell for name in names for cell in keys[name]["cells"]))
    cast = []
    for name in names:
        for own in votes[name].values():
            voted = [(keys[name]["items"][item], choice) for item, choice in own.items()]
            # Equal answers are as good as each other, and nobody was asked.
            voted += [(entry, "both_good") for entry in keys[name]["identical"]]
            cast += [
                Vote(
                    f"{entry['task']}/{entry['document']}",
                    entry["part"],
                    cells.index(entry["left"]),
                    cells.index(entry["right"]),
                    choice,
                )
                for entry, choice in voted
            ]
    counts: list[Counter[str]] = [Counter() for _ in cells]
    for vote in cast:
        left, right = CHOICES[vote.choice]
        for own, share in ((vote.left, left), (vote.right, right)):
            counts[own][vote.choice if left == right else ("lost", "won")[int(share)]] += 1
    wins = {ALL: wins_by_prompt(cast, len(cells))}
    wins |= {half: wins_by_prompt([vote for vote in cast if vote.part == half], len(cells)) for half in (DEV, TEST)}
    if (other := apart(wins[ALL])) is not None:
        raise UserError(
            f"{language}: no votes connect {cells[0]} and {cells[other]}, so they cannot be ranked together."
            " Make a page with both, or collect the pages one by one."
        )
    estimated = {part: estimates(own) for part, own in wins.items() if apart(own) is None}
    voters = len({voter for name in names for voter in votes[name]})
    fingerprint = digest(language, json.dumps([[keys[name], votes[name]] for name in sorted(names)], sort_keys=True))
    found = [
        Rate(language, cell, {part: own[i] for part, own in estimated.items()}, dict(counts[i]), voters, fingerprint)
        for i, cell in enumerate(cells)
    ]
    return sorted(found, key=lambda rate: -rate.rate)


def wins_by_prompt(cast: Sequence[Vote], cells: int) -> np.ndarray:
    """How often each cell was preferred to each other one: prompts x cells x cells."""
    prompts = list(dict.fromkeys(vote.prompt for vote in cast))
    wins = np.zeros((len(prompts), cells, cells))
    for vote in cast:
        left, right = CHOICES[vote.choice]
        document = prompts.index(vote.prompt)
        wins[document, vote.left, vote.right] += left
        wins[document, vote.right, vote.left] += right
    return wins


def apart(wins: np.ndarray) -> int | None:
    """The number of a cell that no votes connect with the first one; None if all are connected."""
    _, groups = connected_components(wins.sum(0), directed=False)
    return next((int(cell) for cell in np.flatnonzero(groups != groups[0])), None)


def estimates(wins: np.ndarray) -> list[Estimate]:
    """The win rate of each cell, with its standard error by a bootstrap over prompts.

    Args:
        wins: prompts x cells x cells.
    """
    prompts = len(wins)
    draws = np.random.default_rng(0).integers(0, prompts, (RESAMPLES, prompts))
    errors = np.std([win_rates(wins[draw].sum(0)) for draw in draws], axis=0, ddof=1)
    return [
        Estimate(float(value), float(error), prompts)
        for value, error in zip(win_rates(wins.sum(0)), errors, strict=True)
    ]


def win_rates(wins: np.ndarray) -> np.ndarray:
    """For each cell the mean chance, in percent, to be preferred to another one.

    Bradley and Terry (1952), fitted by choix (Maystre and Grossglauser 2015).

    Args:
        wins: cells x cells, how often the first was preferred to the second.
    """
    strengths = choix.ilsr_pairwise_dense(wins, alpha=REGULARISATION)
    chances = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    others = ~np.eye(len(wins), dtype=bool)
    return 100 * (chances * others).sum(1) / others.sum(1)
