"""Surveys of how a tensor's models lie to one another, and of where in the model it is."""

from __future__ import annotations

import math

import numpy as np

from merging.arithmetic import dot
from merging.ranks import DESCENDING, Cut
from merging.registry import Share
from merging.survey import Array, Draw, Part, Place, Survey


class Layer(Survey):
    """Where in the model the tensor is."""

    def of(self, part: Part) -> Place:
        return self.place


class Cosine(Survey):
    """The cosine of the angle between the base and the other model, each flattened; 0 if one is all zeros, which has no direction."""

    def __init__(self, place: Place, draw: Draw) -> None:
        super().__init__(place, draw)
        self.passes = 1
        self.cosine = 0.0

    def look(self, number: int, part: Part, base: Array | None, models: Array) -> tuple[float, float, float]:
        return dot(base, models[0]), dot(base, base), dot(models[0], models[0])

    def conclude(self, number: int, found: list[tuple[float, float, float]]) -> None:
        product, *squares = totals(found, 3)
        self.cosine = product / math.sqrt(squares[0] * squares[1]) if all(squares) else 0.0

    def of(self, part: Part) -> float:
        return self.cosine


class CosineInLayer(Cosine):
    """Both."""

    def of(self, part: Part) -> tuple[Place, float]:
        return self.place, self.cosine


class Energies(Survey):
    """||tau_i||^2 of each task vector, over the whole model."""

    whole_model = True

    def __init__(self, place: Place, draw: Draw) -> None:
        super().__init__(place, draw)
        self.passes = 1
        self.energies: list[float] = []

    def look(self, number: int, part: Part, base: Array | None, models: Array) -> list[float]:
        return energies(base, models)

    def conclude(self, number: int, found: list[list[float]]) -> None:
        self.energies = totals(found)

    def of(self, part: Part) -> list[float]:
        return self.energies


class Variance(Survey):
    """SCE's selection and weights (arXiv 2408.07990, section 3.3).

    `select_topk` of the weights are selected: those whose task vectors differ most between the models, by variance. A model's weight is its share of
    the squares of what is selected.
    """

    def __init__(self, place: Place, draw: Draw, *, select_topk: Share = 1.0) -> None:
        super().__init__(place, draw)
        self.selecting = 2 if select_topk < 1 else 0
        self.passes = self.selecting + 1
        self.cut = Cut(int(select_topk * place.size), DESCENDING)
        self.weights: list[float] = []

    def look(self, number: int, part: Part, base: Array | None, models: Array) -> object:
        if number < self.selecting:
            return self.cut.look(number, self.variance(base, models))
        return [dot(delta, delta) for delta in self.selected(part, base, models)]

    def conclude(self, number: int, found: list) -> None:
        if number < self.selecting:
            self.cut.conclude(number, found)
            return
        squares = totals(found)
        self.weights = [square / sum(squares) if sum(squares) else 1 / len(squares) for square in squares]

    def of(self, part: Part) -> tuple[Variance, Part, list[float]]:
        return self, part, self.weights

    def variance(self, base: Array, models: Array) -> Array:
        return np.var(models - base, axis=0, dtype=np.float32)

    def selected(self, part: Part, base: Array, models: Array) -> Array:
        """Each task vector, with 0 for what is not selected."""
        deltas = models - base
        return np.where(self.cut.before(part, self.variance(base, models)), deltas, np.float32(0)) if self.selecting else deltas


def energies(base: Array, models: Array) -> list[float]:
    return [dot(delta, delta) for delta in models - base]


def totals(found: list, columns: int = 0) -> list[float]:
    """Exact sums of the columns, so that no order of adding up can show."""
    return [math.fsum(column) for column in zip(*found, strict=True)] or [0.0] * columns
