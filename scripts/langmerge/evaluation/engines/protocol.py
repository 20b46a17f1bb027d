"""The interface of all engines. It knows token ids and nothing of tasks; an engine knows one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Scoring:
    """One document: its prompt and the continuations that are compared.

    `context` and each continuation have at least one token. Context + continuation without its last
    token has at most `Engine.max_length` tokens.
    """

    context: list[int]
    continuations: list[list[int]]


@dataclass(frozen=True)
class Generating:
    """One answer that is asked for.

    `temperature` 0 is greedy; then `top_p`, `top_k` and `seed` do not count. `top_k` 0 is no limit.
    A text of `until` ends the answer and is not part of it; nor is an end-of-sequence token of the
    tokenizer or of the model's generation settings, nor are other special tokens. A text of `until`
    that is a special token ends the answer too. `max_tokens` is at least 1, and the prompt and it
    together are at most `Engine.max_length` tokens. The answer depends on nothing but this request.
    """

    prompt: list[int]
    until: list[str]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int | None


@dataclass(frozen=True)
class Generated:
    """An answer: its text without the stop string, and how many tokens the model wrote.

    The token that ended it counts.
    """

    text: str
    tokens: int
    finished: bool
    """False if it was cut because it had `max_tokens`."""


class Tensor(Protocol):
    """The type of a tensor, as numpy names it, and its shape."""

    dtype: Any
    shape: tuple[int, ...]


class Weights(Protocol):
    """Weights that take the place of those that an engine has loaded. An engine may pickle this,
    and read it in other processes.
    """

    def tensors(self) -> Iterator[tuple[str, Tensor, Any]]:
        """Each tensor's name, as in a checkpoint's files, its type and shape, and its bytes."""

    def outcome(self) -> Any:
        """What there is to tell when all tensors have been read."""


class Engine(Protocol):
    tokenizer: Any
    max_length: int
    versions: dict[str, str]
    device: str

    def score(self, requests: Sequence[Scoring]) -> list[list[tuple[float, bool]]]:
        """For each continuation: the sum of its log-probabilities (natural logarithm), and whether
        it is what the model would write greedily. In the order of `requests`.
        """

    def generate(self, requests: Sequence[Generating]) -> list[Generated]:
        """The answers, in the order of `requests`."""

    def take(self, weights: Weights) -> Any:
        """Replace the model's weights in place, and return the outcome.

        The model answers as a fresh engine of a checkpoint with these weights does. It is of no use
        after an error, until other weights have been taken.

        Raises:
            UserError: the weights are not those of this model.
        """

    def close(self) -> None:
        """Frees the memory and ends the processes that belong to the engine."""
