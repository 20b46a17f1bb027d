"""What a method must know of a whole tensor before it can merge any part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

Array = np.ndarray


class Draw(Protocol):
    """Draws random numbers for a tensor's weights."""

    def __call__(self, model: int, start: int, size: int, below: float | None = None) -> Array:
        """For the `model`-th model's weights `start` to `start + size`: uint16; with `below`, bool, whether a number in [0, 1) is below it."""


@dataclass(frozen=True)
class Place:
    """A tensor, and where in the model it is.

    Attributes:
        layer: its layer's number, None if it belongs to none.
        layers: how many the model has.
    """

    name: str
    shape: tuple[int, ...]
    layer: int | None = None
    layers: int = 0

    @property
    def size(self) -> int:
        """How many weights it has."""
        return prod(self.shape)

    @property
    def is_embedding(self) -> bool:
        """Whether it lies before the first layer."""
        return self.layer is None and "embed" in self.name


@dataclass(frozen=True)
class Part:
    """A run of a tensor's weights, of which one at a time is in a thread's memory: the `index`-th, from the `start`-th weight on."""

    index: int
    start: int
    size: int


class Survey:
    """Passes over a tensor (or over all tensors) that come before the merging one.

    In each pass, `look` is called once with every part, in any order and from many threads; then `conclude` with all that it returned,
    in the parts' order. Then the method's equation gets, for each part, what `of` returns.

    A subclass takes its parameters by keyword, as a method does.

    Attributes:
        passes: how many; concluding one may add more.
        unit: what parts consist of: weights, rows (the last axis), or the tensor, which is then in memory as a whole.
        whole_model: whether the passes go over all tensors before the first is merged, with one survey for all of them.
    """

    unit: ClassVar[Literal["weight", "row", "tensor"]] = "weight"
    whole_model: ClassVar[bool] = False

    passes: int = 0

    def __init__(self, place: Place, draw: Draw) -> None:
        self.place = place
        self.draw = draw

    @classmethod
    def check(cls, **parameters: Any) -> None:
        """Refuse parameters that do not go together.

        Raises:
            UserError: they do not.
        """

    def sample(self, number: int) -> tuple[int, int] | None:
        """How many runs of how many weights pass `number` is to see, all at once, as one part; None: the tensor, part by part."""
        return None

    def look(self, number: int, part: Part, base: Array | None, models: Array) -> Any:
        """What pass `number` needs of a part, given as the bits of its stored weights; `models` has a row a model."""
        raise NotImplementedError

    def conclude(self, number: int, found: list[Any]) -> None:
        """End pass `number`."""
        raise NotImplementedError

    def foresees(self, number: int) -> bool:
        """Whether pass `number` knows of nearly all weights what the equation will get: then they can be merged in it."""
        return False

    def foresee(self, part: Part, base: Array | None, models: Array) -> tuple[Any, Any, Array]:
        """What `look` returns in such a pass; what the equation gets for the part, and the indices of the weights of which that is not sure."""
        raise NotImplementedError

    def settled(self) -> tuple[Array | None, Sequence[Array], Any]:
        """After the last pass, if it was such a one: the weights that were not sure, of all parts; and what the equation gets for them."""
        raise NotImplementedError

    def kept(self, index: int) -> float:
        """The share of a model's weights, or of its task vector's, that the method keeps."""
        return 1.0

    def of(self, part: Part, base: Array | None, models: Array) -> Any:
        """What the equation needs for a part."""
        raise NotImplementedError
