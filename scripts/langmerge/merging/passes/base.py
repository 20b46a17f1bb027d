"""What a method must know of a whole tensor before it merges a chunk, and how that is found.

Shapes: `C` weights of a chunk, `M` models without the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

from langmerge.merging.tensors import Array, Chunk, TensorInfo


class Draw(Protocol):
    """Draws random numbers for the weights of a tensor."""

    def __call__(self, model: int, start: int, size: int, below: float | None = None) -> Array:
        """Numbers for weights `start` to `start + size` of the model with this index, (size,).

        Returns:
            uint16; or, with `below`, bool: whether a number in [0, 1) is below it.
        """


class Pass:
    """One pass over a tensor.

    Attributes:
        windows: None to scan every chunk; or (number, length) to scan one sample of the tensor,
            that many windows of consecutive weights, as a single chunk.
    """

    windows: tuple[int, int] | None = None

    def scan(self, chunk: Chunk, base: Array | None, models: Array) -> Any:
        """Look at one chunk; called once for each, in any order and from many threads.

        Args:
            base: (C,) the bits of the base's weights, None for methods without a base.
            models: (M, C) the bits of the models' weights.
        """
        raise NotImplementedError

    def finish(self, scans: list[Any]) -> Pass | None:
        """End the pass, given what `scan` returned for each chunk, in the order of the chunks.

        Returns:
            The next pass, or None if the tensor can be merged.
        """
        raise NotImplementedError


class MergingPass(Pass):
    """A pass that already knows what the equation needs for nearly all weights, and merges them.

    Attributes:
        can_merge: whether it can, for this tensor.
    """

    can_merge: bool = False

    def scan_and_prepare(self, chunk: Chunk, base: Array | None, models: Array) -> tuple[Any, Any, Array]:
        """Scan a chunk that is merged at once.

        Returns:
            What `scan` would return, or more; what the equation needs for the chunk; the indices in
            the chunk of the weights for which that is undecided, (U,) uint32.
        """
        raise NotImplementedError

    def resolve(self) -> tuple[Array | None, Sequence[Array], Any]:
        """Decide, once the pass has finished and was the last one.

        Returns:
            The bits of the undecided weights of all chunks, of the base (U,) and of each model
            (U,); what the equation needs for them.
        """
        raise NotImplementedError


class Preparation:
    """What an equation needs beside the weights of a chunk; passes over the tensor fill it in.

    A subclass takes its parameters by keyword, as a method does, and they become the method's.

    Attributes:
        unit: what chunks consist of: weights, rows (the last axis), or the whole tensor.
        whole_model: whether the passes go over all tensors before the first one is merged, with one
            preparation for all of them.
        passes: which passes come before the merging one, in words, for docs/methods.md.
    """

    unit: ClassVar[Literal["weight", "row", "tensor"]] = "weight"
    whole_model: ClassVar[bool] = False
    passes: ClassVar[str] = "none"

    def __init__(self, tensor: TensorInfo, draw: Draw) -> None:
        self.tensor = tensor
        self.draw = draw

    @classmethod
    def check(cls, **parameters: Any) -> None:
        """Refuse parameters that contradict each other.

        Raises:
            UserError: they do.
        """

    def first_pass(self) -> Pass | None:
        """The first pass over the tensor, None if no pass is needed."""
        return None

    def for_chunk(self, chunk: Chunk, base: Array | None, models: Array) -> Any:
        """What the equation needs for a chunk with these bits, (C,) and (M, C), after the
        passes."""
        raise NotImplementedError

    def kept_share(self, model: int) -> float:
        """The share of a model's task vector that the method keeps."""
        return 1.0
