"""The sequential search: candidates race over blocks of documents, and those that cannot win stop.

After each block, a candidate is dropped if it is shown to be worse than the leader, or to break the
constraint: a one-sided paired t test, corrected by Holm's method over the candidates and by
Bonferroni's over the blocks. A smooth curve through the scores then proposes further candidates.
What a candidate is stopped for is kept with what was known of it: being dropped by a test is a
claim, being stopped by the budget is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from langmerge.errors import UserError
from langmerge.reporting.differences import Difference
from langmerge.reporting.significance import holm
from langmerge.search.blocks import SHARES, Block, blocks
from langmerge.search.criterion import Answers, Criterion, Known
from langmerge.search.fit import Curve, scaled, spread

Candidate = tuple[float, ...]
"""The values of a cell's parameters, such as (0.5,) for w = 0.5."""

Ask = Callable[[Candidate, Block], Answers]
"""Ask a candidate the documents of a block."""

LEVEL = 0.05
"""The chance, over the whole search, that one is dropped which is as good as the leader."""

FINALISTS = 2
"""So many candidates can always be asked all documents that choose."""

PROPOSALS = 2
"""The most candidates that are added after a block."""

WORTHWHILE = 0.25
"""Points by which a candidate must be expected to exceed the best one to be added."""

WORSE, BREAKS, BUDGET = "worse than the leader", "breaks the constraint", "the budget"
"""What a candidate is stopped for."""


@dataclass
class Trial:
    """A candidate and what is known of it.

    Attributes:
        answers: to all blocks that it was asked; known: what they tell after each block.
        stopped: what it was stopped for; empty for a finalist.
        gap: its score minus that of the leader at the end, on the documents that both were asked;
            slack: by how much it satisfies the constraint, if there is one.
    """

    candidate: Candidate
    answers: dict[str, np.ndarray] = field(default_factory=dict)
    known: list[Known] = field(default_factory=list)
    stopped: str = ""
    gap: Difference | None = None
    slack: Difference | None = None

    @property
    def feasible(self) -> bool:
        """Whether its answers satisfy the constraint."""
        return self.slack is None or self.slack.value >= 0

    @property
    def blocks(self) -> int:
        """How many it was asked."""
        return len(self.known)

    def add(self, answers: Answers, criterion: Criterion) -> None:
        """Add those to one more block."""
        self.answers = {
            task: np.concatenate([self.answers[task], own]) if self.answers else own for task, own in answers.items()
        }
        self.known.append(criterion.known(self.answers))


@dataclass
class Outcome:
    """The end of a search.

    Attributes:
        winner: the best finalist; None if none satisfies the constraint.
        front: the finalists that no other one matches or beats in the score and in the constraint.
        asked: requests on the documents that choose, of all candidates.
    """

    winner: Candidate | None
    front: list[Candidate]
    trials: list[Trial]
    asked: int


class Search:
    """One search.

    Attributes:
        pool: all candidates that may be proposed, the first one first.
        budget: requests that may be made, with those that report the winner (`reserve`).
    """

    def __init__(
        self,
        criterion: Criterion,
        pool: list[Candidate],
        ask: Ask,
        instruct: Callable[[Block], Answers],
        documents: Block,
        budget: float,
        reserve: float,
    ) -> None:
        """Prepare a search.

        Args:
            instruct: the instruct model's answers to the documents of a block.
            documents: those that choose, by task, ordered by their hashes.

        Raises:
            UserError: the budget does not suffice for two candidates.
        """
        self.criterion, self.pool, self.ask = criterion, pool, ask
        found = blocks({task: documents[task] for task in criterion.tasks}, criterion.weights)
        self.blocks = [block for block in found if any(map(len, block.values()))]  # few documents fill few
        self.instruct = Trial(())
        for block in self.blocks:
            self.instruct.add(instruct(block), criterion)
        seeds = {task: own.shape[1] for task, own in self.instruct.answers.items()}
        self.costs = [sum(len(own) * seeds[task] for task, own in block.items()) for block in self.blocks]
        self.left = budget - reserve
        self.trials: dict[Candidate, Trial] = {}
        self.first = spread(pool, 2 * len(pool[0]) + 3)
        least = len(self.first) * self.costs[0] + FINALISTS * sum(self.costs[1:]) + reserve
        if budget < least:
            raise UserError(
                f"a search with a budget of {budget:g} requests cannot finish {FINALISTS} candidates, which takes {least:g}"
                " with the report of the best one. Raise the budget."
            )

    # ---- the race

    def run(self) -> Outcome:
        """Search until all documents that choose are asked or one candidate is left."""
        self.trials = {candidate: Trial(candidate) for candidate in self.first}
        for number in range(len(self.blocks)):
            for trial in self.live:
                self.go_on(trial)
            self.compare()
            if number + 1 < len(self.blocks):
                self.drop()
                self.propose()
                self.stop_beyond(self.affordable(number + 1))
            if len(self.live) == 1:
                break
        return self.outcome()

    @property
    def live(self) -> list[Trial]:
        return [trial for trial in self.trials.values() if not trial.stopped]

    def go_on(self, trial: Trial) -> None:
        """Ask a candidate its next block."""
        trial.add(self.ask(trial.candidate, self.blocks[trial.blocks]), self.criterion)
        self.left -= self.costs[trial.blocks - 1]

    def affordable(self, number: int) -> int:
        """How many candidates can go on to a block so that enough is left for the finalists."""
        later = FINALISTS * sum(self.costs[number + 1 :])
        return max(FINALISTS, math.floor((self.left - later) / self.costs[number]))

    def stop_beyond(self, count: int) -> None:
        """Stop all but so many of the best."""
        for trial in self.ranked()[count:]:
            trial.stopped = BUDGET

    # ---- what is known

    @property
    def leader(self) -> Trial:
        """The best of those that go on, by the curve."""
        return self.ranked()[0]

    def compare(self) -> None:
        """Compare all candidates with one of them and with the constraint, and draw the curve
        again: of the score, or of the constraint as long as no candidate satisfies it.

        Which one they are compared with shifts all alike; it is one that was asked most.
        """
        best = max(self.live, key=lambda trial: (trial.blocks, self.criterion.level(trial.known[-1])))
        for trial in self.trials.values():
            trial.gap = self.gap(trial, best)
            if self.criterion.constraint:
                trial.slack = self.criterion.slack(trial.known[-1], self.instruct.known[trial.blocks - 1])
        others = [trial for trial in self.trials.values() if trial is not best]
        places = scaled([trial.candidate for trial in [best, *others]], self.pool)
        if self.criterion.constraint and not any(trial.feasible for trial in self.live):
            # First of all, one is needed that satisfies the constraint.
            slacks = [trial.slack for trial in [best, *others]]
            values, errors = [slack.value for slack in slacks], [slack.error for slack in slacks]
        else:
            # Half of a gap's variance is that of the one that all are compared with.
            values = [0.0, *(trial.gap.value for trial in others)]
            errors = [math.nan, *(trial.gap.error / math.sqrt(2) for trial in others)]
        typical = float(np.nanmedian(errors)) if np.isfinite(errors).any() else 1.0
        self.curve = Curve(places, np.array(values), np.nan_to_num(np.array(errors), nan=typical))

    def gap(self, first: Trial, second: Trial) -> Difference:
        """How much higher the first one's score is, on the documents that both were asked."""
        common = min(first.blocks, second.blocks) - 1
        return self.criterion.gap(first.known[common], second.known[common])

    def ranked(self) -> list[Trial]:
        """Those that go on, the best first: by the constraint, then by the curve."""
        live = self.live
        expected, _ = self.curve.at(scaled([trial.candidate for trial in live], self.pool))
        order = sorted(range(len(live)), key=lambda index: (not live[index].feasible, -expected[index]))
        return [live[index] for index in order]

    # ---- between two blocks

    def drop(self) -> None:
        """Stop the candidates that are shown to be worse than the leader or to break the
        constraint.
        """
        leader = self.leader
        others = [trial for trial in self.live if trial is not leader]
        worse = [self.gap(trial, leader).p_not_above(0) for trial in others]
        breaks = [trial.slack.p_not_above(0) for trial in others if trial.slack]
        for reason, found in ((BREAKS, breaks), (WORSE, worse)):
            for trial, p in zip(others, holm(pd.Series(found, dtype=float)), strict=False):
                if p < LEVEL / len(SHARES):
                    trial.stopped = trial.stopped or reason

    def propose(self) -> None:
        """Add the candidates that the curve expects most of, as far as the budget goes."""
        depth = max(trial.blocks for trial in self.live)
        before, later = sum(self.costs[:depth]), sum(self.costs[depth:])
        for _ in range(PROPOSALS):
            rest = [candidate for candidate in self.pool if candidate not in self.trials]
            if not rest or self.left - before < FINALISTS * later:
                return
            best = max(self.curve.at(scaled([trial.candidate for trial in self.live], self.pool))[0])
            gains = self.curve.improvement(scaled(rest, self.pool), best)
            if gains.max() < WORTHWHILE:
                return
            trial = Trial(rest[int(gains.argmax())])
            self.trials[trial.candidate] = trial
            for _ in range(depth):
                self.go_on(trial)
            self.compare()

    # ---- the end

    def outcome(self) -> Outcome:
        """The winner, and what is known of all others in comparison with it."""
        finalists = [trial for trial in self.ranked() if trial.feasible]
        if finalists:
            for trial in self.trials.values():
                trial.gap = self.gap(trial, finalists[0])
        asked = sum(sum(self.costs[: trial.blocks]) for trial in self.trials.values())
        winner = finalists[0].candidate if finalists else None
        return Outcome(winner, front(finalists), list(self.trials.values()), asked)


def front(finalists: list[Trial]) -> list[Candidate]:
    """Those that no other one matches or beats in the score and in the constraint; without a
    constraint, the first.
    """
    kept: list[Trial] = []
    for trial in finalists:
        if not any(other.slack is None or other.slack.value >= trial.slack.value for other in kept):
            kept.append(trial)
    return [trial.candidate for trial in kept]
