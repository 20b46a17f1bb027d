"""The sequential search, on invented models whose true scores are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from langmerge.errors import UserError
from langmerge.search.blocks import FEWEST, SHARES, blocks
from langmerge.search.cells import described
from langmerge.search.criterion import Criterion, Stratum
from langmerge.search.fit import Curve, scaled, spread
from langmerge.search.race import BREAKS, BUDGET, WORSE, Outcome, Search

WEIGHTS = [(0.25,), (0.5,), (0.75,), (1.0,), (1.5,), (2.0,)]
KNOWS = [Stratum("small", "acc", 0.5, 45), Stratum("large", "acc", 0.5, 45)]
FOLLOWS = [Stratum("follow", "acc", 1.0, 40)]


class World:
    """Candidates that answer each document right with a chance, the same ones by nature."""

    def __init__(self, knows, follows=lambda w: 0.6, sizes=(100, 300, 60), seed: int = 1) -> None:
        """`knows`, `follows`: of a candidate's first parameter, the chance of a right answer."""
        random = np.random.default_rng(seed)
        self.chances = {"small": knows, "large": knows, "follow": follows}
        self.documents = {name: np.arange(size) for name, size in zip(self.chances, sizes, strict=True)}
        self.luck = {name: random.random(len(own)) for name, own in self.documents.items()}
        self.own = {name: random.random((1000, len(own))) for name, own in self.documents.items()}
        self.asked: list[tuple[tuple[float, ...], str, int]] = []

    def ask(self, candidate, block) -> dict[str, np.ndarray]:
        for task, own in block.items():
            self.asked += [(candidate, task, int(document)) for document in own]
        return self.answers(candidate, block)

    def answers(self, candidate, block) -> dict[str, np.ndarray]:
        """Half of the luck is the document's, half the candidate's own."""
        row = hash(candidate) % 1000
        found = {}
        for task, own in block.items():
            luck = np.where(self.own[task][row] < 0.5, self.luck[task], (2 * self.own[task][row]) % 1)[own]
            right = (luck < self.chances[task](candidate[0])).astype(float)
            found[task] = np.stack([right, np.ones(len(own))], axis=-1)[:, None]
        return found

    def search(self, pool=WEIGHTS, constraint=(), budget: float = 3.0, factor: float = 0.9) -> Outcome:
        """`budget`: in complete evaluations of a candidate."""
        criterion = Criterion(KNOWS, list(constraint), factor)
        whole = sum(len(self.documents[task]) for task in criterion.tasks)
        return Search(
            criterion, pool, self.ask, lambda block: self.answers((0.0,), block), self.documents, budget * whole, 0.0
        ).run()


def hump(w: float) -> float:
    """Best at w = 1."""
    return 0.8 - 0.35 * (w - 1) ** 2


# ---- blocks


def test_blocks_add_up_to_all_documents_in_their_order():
    documents = {"small": np.array([5, 3, 9, 1]), "large": np.arange(60)}
    found = blocks(documents, {"small": 1.0, "large": 1.0})
    assert len(found) == len(SHARES)
    for task, own in documents.items():
        np.testing.assert_array_equal(np.concatenate([block[task] for block in found]), own)
        assert len(found[0][task]) >= FEWEST


def test_a_task_is_asked_by_its_weight_and_not_by_its_size():
    documents = {"small": np.arange(500), "large": np.arange(15_000), "light": np.arange(5000)}
    first, second, *_ = blocks(documents, {"small": 2.0, "large": 2.0, "light": 1.0})
    assert (
        len(first["small"])
        == pytest.approx(len(first["large"]), abs=1)
        == pytest.approx(2 * len(first["light"]), abs=2)
    )
    assert sum(map(len, first.values())) == pytest.approx(0.05 * 20_500, abs=3)
    assert len(first["small"]) + len(second["small"]) == 500, "the small one runs out"
    assert sum(len(block[task]) for block in (first, second) for task in documents) == pytest.approx(
        0.2 * 20_500, abs=3
    )


# ---- the curve


def test_the_curve_goes_through_what_is_known_and_between_neighbours():
    places = np.array([[0.0], [0.4], [1.0]])
    curve = Curve(places, np.array([-3.0, 0.0, -6.0]), np.full(3, 0.01))
    mean, error = curve.at(np.array([[0.0], [0.4], [1.0], [0.2]]))
    np.testing.assert_allclose(mean[:3], [-3, 0, -6], atol=0.05)
    assert -3 < mean[3] < 0 and error[3] > error[0]
    gains = curve.improvement(np.array([[0.5], [1.0]]), 0.0)
    assert gains[0] > gains[1] >= 0


def test_first_candidates_are_far_from_one_another():
    assert spread(WEIGHTS, 3) == [(0.25,), (1.0,), (2.0,)]
    assert spread(WEIGHTS, 9) == WEIGHTS
    square = [(x, y) for x in (0.0, 5.0, 10.0) for y in (0.0, 0.1, 0.2)]
    assert {*spread(square, 4)} == {(0.0, 0.0), (0.0, 0.2), (10.0, 0.0), (10.0, 0.2)}
    assert scaled([(1.0, 3.0)], [(0.0, 3.0), (2.0, 3.0)]).tolist() == [[0.5, 0.0]]


# ---- the race


def test_the_best_weight_is_found_and_each_answer_is_asked_once():
    world = World(hump, sizes=(1000, 3000, 10))
    outcome = world.search()
    assert outcome.winner == (1.0,) and outcome.front == [(1.0,)]
    assert len(world.asked) == len({*world.asked}) == outcome.asked


def test_what_is_shown_to_be_worse_stops_early_with_what_was_known_of_it():
    world = World(hump, sizes=(1000, 3000, 10))
    trials = {trial.candidate: trial for trial in world.search(budget=6.0).trials}
    worst = trials[2.0,]
    assert worst.stopped == WORSE and worst.blocks == 1
    low, high = worst.gap.interval(0.95)
    assert low < worst.gap.value < high < 0
    assert trials[1.0,].stopped == "" and trials[1.0,].blocks == len(SHARES)


@pytest.mark.parametrize("seed", range(8))
def test_the_budget_is_never_exceeded_and_what_it_stops_is_not_said_to_be_worse(seed):
    """All candidates are equally good, so that no test should stop one."""
    world = World(lambda w: 0.6, sizes=(40, 60, 10), seed=seed)
    outcome = world.search(budget=2.9)
    assert outcome.asked <= 2.9 * 100
    assert {trial.stopped for trial in outcome.trials} <= {"", BUDGET}
    assert sum(trial.blocks == len(SHARES) for trial in outcome.trials) >= 2


def test_the_best_candidate_is_seldom_dropped_by_a_test():
    """Six equal candidates: one of them, which we call the best, is dropped in 1 of 20 searches."""
    dropped = 0
    for seed in range(60):
        outcome = World(lambda w: 0.6, sizes=(60, 60, 10), seed=seed).search(budget=6.0)
        dropped += any(trial.candidate == (1.0,) and trial.stopped == WORSE for trial in outcome.trials)
    assert dropped / 60 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 60)


def test_the_constraint_decides_before_the_score():
    world = World(lambda w: 0.4 + 0.2 * w, lambda w: 0.9 if w <= 0.75 else 0.3, sizes=(600, 600, 600))
    outcome = world.search(constraint=FOLLOWS, budget=6.0)
    assert outcome.winner == (0.75,)
    trials = {trial.candidate: trial for trial in outcome.trials}
    assert trials[2.0,].stopped == BREAKS and trials[2.0,].slack.value < 0
    assert all(trials[candidate].slack.value >= 0 for candidate in outcome.front)


def test_without_any_candidate_that_satisfies_the_constraint_there_is_no_winner():
    world = World(hump, lambda w: 0.9 if w == 0 else 0.1, sizes=(100, 100, 300))
    outcome = world.search(constraint=FOLLOWS, budget=6.0)
    assert outcome.winner is None and outcome.front == []


def test_the_curve_proposes_what_lies_between():
    """A range of 36 weights: few are asked, and the best of them are near 1.2."""
    pool = [(round(0.25 + 0.05 * step, 2),) for step in range(36)]
    world = World(lambda w: 0.8 - 0.3 * (w - 1.2) ** 2, sizes=(2000, 2000, 10))
    outcome = world.search(pool, budget=5.0)
    assert outcome.winner[0] == pytest.approx(1.2, abs=0.3)
    assert 5 < len(outcome.trials) <= 11


def test_several_parameters():
    pool = [(w, density) for w in (0.25, 0.5, 0.75, 1.0, 1.5) for density in (0.2, 0.5, 0.8)]
    world = World(hump, sizes=(1000, 1000, 10))
    outcome = world.search(pool, budget=6.0)
    assert outcome.winner[0] in (0.75, 1.0) and len(outcome.trials) < len(pool)


def test_a_budget_that_is_too_small_is_refused_with_the_numbers():
    with pytest.raises(
        UserError, match=r"a search with a budget of 100 requests cannot finish 2 candidates, which takes \d"
    ):
        World(hump, sizes=(40, 60, 10)).search(budget=1.0)


# ---- what is said of a cell


def test_the_interval_of_a_score_is_that_of_its_documents():
    criterion = Criterion([Stratum("small", "acc", 1.0, 45)], [], 1.0)
    right = np.array([[[1.0, 1.0]]] * 4)
    sure = criterion.score_of(criterion.known({"small": right}))
    assert sure.value == 100
    low, high = sure.interval(0.95)
    assert 20 < low < 70 and high > 99  # four right answers say little
    half = criterion.score_of(criterion.known({"small": np.array([[[float(n % 2), 1.0]] for n in range(1000)])}))
    assert half.interval(0.95) == pytest.approx((50 - 3.1, 50 + 3.1), abs=0.1)


def test_a_cell_is_described_by_what_it_was_asked():
    world = World(hump, sizes=(100, 300, 60))
    criterion = Criterion(KNOWS, [], 0.9)
    outcome = world.search(budget=3.0)
    whole = sum(len(world.documents[task]) for task in criterion.tasks)
    cells = {trial.candidate: described(criterion, trial, outcome, whole) for trial in outcome.trials}
    assert cells[outcome.winner]["state"] == "found" and "gap" not in cells[outcome.winner]
    stopped = [cell for cell in cells.values() if cell["state"].startswith("stopped: ")]
    assert stopped and all(0 < cell["asked"] < 1 for cell in stopped)
    assert all(cell["score_low"] < cell["score"] < cell["score_high"] for cell in cells.values())
    assert all(cell["gap_low"] <= cell["gap_high"] for cell in stopped)
    assert described(criterion, None, outcome, whole) == {"asked": 0.0, "state": "never asked"}


def test_where_nothing_keeps_enough_the_constraint_is_searched_for():
    """Only weights below 0.4 follow instructions, and those that are asked first are others."""
    pool = [(w,) for w in np.round(np.arange(0.1, 2.01, 0.1), 1).tolist()]
    world = World(lambda w: 0.4 + 0.2 * w, lambda w: 0.9 if w == 0 or 0.25 < w < 0.4 else max(0.1, 0.5 - 0.2 * w))
    first = spread(pool, 5)
    assert (0.3,) not in first
    found = world.search(pool, FOLLOWS, budget=12.0)
    assert found.winner == (0.3,)
