"""Surveys of how a tensor's models lie to one another, and of where in the model it is."""

from __future__ import annotations

import math

import numpy as np

from merging.lazy import kernels
from merging.merged import NO_BITS, shift
from merging.survey import Array, Draw, Part, Place, Survey


class Layer(Survey):
    """Where in the model the tensor is."""

    def of(self, part: Part, base: Array | None, models: Array) -> Place:
        return self.place


class Products(Survey):
    """The products of every two task vectors, or, in `whole` ones, of the models themselves, base first; summed over the tensor."""

    passes = 1

    def __init__(self, place: Place, draw: Draw) -> None:
        super().__init__(place, draw)
        self.products = np.zeros((0, 0))

    def look(self, number: int, part: Part, base: Array, models: Array) -> Array:
        found = np.zeros((len(models), len(models)))
        kernels.products(base, models, shift(models), found)
        return found

    def conclude(self, number: int, found: list[Array]) -> None:
        if found:
            # Exactly rounded sums, so that no order of adding up can show.
            self.products = np.array([[math.fsum(each) for each in zip(*row, strict=True)] for row in zip(*found, strict=True)])


class Cosine(Products):
    """Where the tensor is, and the cosine between the base and the other model, flattened; 0 if one is all zeros: it has no direction."""

    def look(self, number: int, part: Part, base: Array, models: Array) -> Array:
        return super().look(number, part, NO_BITS[models.dtype], np.stack([base, models[0]]))

    def of(self, part: Part, base: Array, models: Array) -> tuple[Place, float]:
        (square, product), (_, other) = self.products
        return self.place, product / math.sqrt(square * other) if square and other else 0.0


class Energies(Products):
    """||tau_i||^2 of each task vector, over the whole model."""

    whole_model = True

    def of(self, part: Part, base: Array, models: Array) -> list[float]:
        return list(np.diag(self.products))
