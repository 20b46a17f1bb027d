"""The next token of each sequence of a batch, and where an answer ends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from langmerge.evaluation.engines.protocol import Generated, Generating

SPARE = 8
"""Tokens without text (special ones) that may lie inside a stop string."""


class Sampler:
    """Draws the next tokens of a batch; each sequence has a random generator of its own.

    A draw is the exponential race: the token with the largest probability / noise, where the noise
    is exponential and drawn for the whole vocabulary. It is the same for any batch around it, and a
    rounding error of a probability changes it only if two tokens are as close to each other.
    """

    def __init__(self, requests: Sequence[Generating], device: torch.device) -> None:
        self.requests = requests
        self.device = device
        self.generators = {
            number: torch.Generator(device).manual_seed(request.seed or 0)
            for number, request in enumerate(requests)
            if request.temperature > 0
        }

    def __call__(self, logits: torch.Tensor, numbers: Sequence[int]) -> list[int]:
        """The next tokens.

        Args:
            logits: float32, sequences x vocabulary.
            numbers: which request each row belongs to.
        """
        tokens = logits.argmax(-1)
        rows = [row for row, number in enumerate(numbers) if number in self.generators]
        if rows:
            drawn = probabilities(logits[rows], [self.requests[numbers[row]] for row in rows])
            noise = torch.empty_like(drawn)
            for row, own in zip(rows, noise, strict=True):
                own.exponential_(generator=self.generators[numbers[row]])
            tokens[rows] = (drawn / noise).argmax(-1)
        return tokens.tolist()


def probabilities(logits: torch.Tensor, requests: Sequence[Generating]) -> torch.Tensor:
    """The distributions to draw from: temperature, then top_k, then top_p, as transformers and
    vLLM.

    top_k keeps the k most probable tokens. top_p keeps a token if those that are more probable have
    less than top_p together.
    """

    def column(name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.tensor([[getattr(request, name)] for request in requests], dtype=dtype, device=logits.device)

    scores = logits / column("temperature")
    size = scores.shape[-1]
    if any(0 < request.top_k < size for request in requests):
        kept = column("top_k", torch.long)
        kept = torch.where(kept > 0, kept.clamp(max=size), size)
        least = scores.sort(-1, descending=True).values.gather(-1, kept - 1)
        scores = scores.masked_fill(scores < least, -torch.inf)
    if any(request.top_p < 1 for request in requests):
        ordered, places = scores.sort(dim=-1, descending=True, stable=True)
        share = ordered.softmax(-1)
        before = share.cumsum(-1) - share
        dropped = (before >= column("top_p")).index_fill(-1, torch.tensor([0], device=logits.device), False)
        scores = scores.masked_fill(torch.zeros_like(dropped).scatter(-1, places, dropped), -torch.inf)
    return scores.softmax(-1)


class Answer:
    """An answer while it is written.

    It ends with an end-of-sequence token, a stop string, or at its maximal length.

    Args:
        ends: the model's end-of-sequence tokens.
    """

    def __init__(self, request: Generating, tokenizer: Any, ends: set[int]) -> None:
        self.tokenizer = tokenizer
        self.limit = request.max_tokens
        special = special_tokens(tokenizer) if request.until else {}
        self.ends = ends | {special[text] for text in request.until if text in special}
        self.until = [text for text in request.until if text and text not in special]
        self.window = max((len(text.encode()) for text in self.until), default=0) + SPARE
        self.tokens: list[int] = []
        self.ended = False

    def add(self, token: int) -> bool:
        """Add a token; return whether the answer is complete."""
        self.tokens.append(token)
        self.ended = token in self.ends or (bool(self.until) and self.stopped(self.tokens[-self.window :]))
        return self.ended or len(self.tokens) >= self.limit

    def stopped(self, tokens: list[int]) -> bool:
        text = self.decoded(tokens)
        return any(stop in text for stop in self.until)

    def decoded(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def generated(self) -> Generated:
        """The complete answer."""
        whole = not self.tokens or self.tokens[-1] not in self.ends
        text = self.decoded(self.tokens if whole else self.tokens[:-1])
        for stop in self.until:
            text = text.split(stop)[0]
        return Generated(text, len(self.tokens), self.ended)


@cache
def special_tokens(tokenizer: Any) -> dict[str, int]:
    """The tokens that are left out of a text, with their numbers."""
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {**added, **dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))}
