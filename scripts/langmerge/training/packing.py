"""Tokenised corpora as training sequences of one length, in an order that the seed alone decides."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from langmerge.errors import UserError
from langmerge.training.shards import Corpus, Shard

IGNORED = -100
"""Label of a token without loss, as torch's cross entropy and transformers have it."""

OPEN_SEQUENCES = 64
"""Sequences that the next conversation may go into. More would leave less padding and cost time."""

Piece = tuple[Shard, int, int]
"""Tokens of a shard, from one to before another."""


class Sequence(NamedTuple):
    """One training sequence.

    Attributes:
        tokens, labels: int64 of shape [length].
        positions: int64 of shape [length], from 0 in each document.
    """

    tokens: np.ndarray
    labels: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True)
class Form:
    """What a sequence looks like.

    Attributes:
        length: its tokens.
        separate: whether a document sees nothing of the others in its sequence. Then its first
            token has no label, because nothing before it predicts it.
        padding: the token behind the last one.
    """

    length: int
    separate: bool
    padding: int


class Sequences:
    """The sequences of one corpus.

    Documents are joined and cut every `length` tokens. Conversations stay whole where they fit: the
    next one goes into the first of `OPEN_SEQUENCES` that has room for it.
    """

    def __init__(self, corpus: Corpus, form: Form) -> None:
        """Find out where each sequence begins, which takes the index of documents only, and for
        conversations their labels.

        Raises:
            UserError: no sequence has anything to learn.
        """
        self.form = form
        self.documents = [shard for shard in corpus.shards if shard.labels is None]
        self.offsets = np.cumsum([0, *(int(shard.starts[-1]) for shard in self.documents)])
        whole, rest = divmod(int(self.offsets[-1]), form.length)
        self.cut = whole + (rest > 1)  # nothing predicts the first token
        chats = [shard for shard in corpus.shards if shard.labels is not None]
        packed = first_fit([piece for shard in chats for piece in pieces(shard, form.length)], form.length)
        self.packed = [sequence for sequence in packed if has_label(sequence)]
        if not len(self):
            raise UserError(f"{corpus.folder}: nothing to learn from: no token has one before it that predicts it.")

    def __len__(self) -> int:
        return self.cut + len(self.packed)

    def __getitem__(self, index: int) -> Sequence:
        return self.read(self.joined(index) if index < self.cut else self.packed[index - self.cut])

    def joined(self, index: int) -> list[Piece]:
        """The pieces of a sequence of documents: one, or several where it goes over the end of a
        shard.
        """
        start = index * self.form.length
        end = min(start + self.form.length, int(self.offsets[-1]))
        found = []
        for number in range(int(np.searchsorted(self.offsets, start, "right")) - 1, len(self.documents)):
            first = int(self.offsets[number])
            if first >= end:
                break
            shard = self.documents[number]
            found.append((shard, max(start - first, 0), min(end - first, int(shard.starts[-1]))))
        return found

    def read(self, parts: list[Piece]) -> Sequence:
        form = self.form
        tokens = np.full(form.length, form.padding, dtype=np.int64)
        labels = np.full(form.length, IGNORED, dtype=np.int64)
        begins = np.zeros(form.length, dtype=bool)
        at = 0
        for shard, start, end in parts:
            to = at + end - start
            tokens[at:to] = shard.tokens[start:end]
            learned = slice(None) if shard.labels is None else shard.labels[start:end] == 1
            labels[at:to][learned] = tokens[at:to][learned]
            first, last = np.searchsorted(shard.starts, (start, end))
            begins[shard.starts[first:last].astype(np.int64) - start + at] = True
            if shard.labels is not None:
                begins[at] = True  # also of a long conversation's second part
            at = to
        begins[0] = True
        if at < form.length:
            begins[at] = True  # padding sees no document, and none sees it
        steps = np.arange(form.length)
        positions = steps - np.maximum.accumulate(np.where(begins, steps, 0))
        if form.separate:
            labels[begins] = IGNORED
        return Sequence(tokens, labels, positions)


def pieces(shard: Shard, length: int) -> list[Piece]:
    """The conversations of a shard, those that are too long in several parts."""
    bounds = shard.starts.astype(np.int64)
    return [
        (shard, start, min(start + length, int(end)))
        for begin, end in pairwise(bounds)
        for start in range(int(begin), int(end), length)
    ]


def first_fit(parts: list[Piece], length: int) -> list[list[Piece]]:
    """Pieces gathered into sequences of at most `length` tokens."""
    done: list[list[Piece]] = []
    # Mutable pairs: tokens so far, pieces so far.
    opened: list[list] = []
    for part in parts:
        size = part[2] - part[1]
        for sequence in opened:
            if sequence[0] + size <= length:
                sequence[0] += size
                sequence[1].append(part)
                break
        else:
            opened.append([size, [part]])
            if len(opened) > OPEN_SEQUENCES:
                done.append(opened.pop(0)[1])
    return [*done, *(sequence for _, sequence in opened)]


def has_label(parts: list[Piece]) -> bool:
    """Whether a token behind a sequence's first one is learned."""
    (shard, start, end), *others = parts
    return bool(shard.labels[start + 1 : end].any() or any(s.labels[a:b].any() for s, a, b in others))


class Mixture:
    """A fixed number of training sequences drawn from several corpora by shares.

    The order depends on the seed alone. Each corpus contributes exactly its share of the sequences
    (up to rounding), spread at random over the training. A corpus's sequences come in random order,
    and each comes once before any comes a second time.

    Args:
        shares: one per corpus, above 0; they are normalised.
        total: number of sequences.
    """

    def __init__(self, corpora: list[Sequences], shares: list[float], total: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.corpora = corpora
        ends = np.rint(np.cumsum(shares) / np.sum(shares) * total).astype(int)
        counts = np.diff(ends, prepend=0)
        self.source = rng.permutation(np.repeat(np.arange(len(corpora)), counts))
        self.row = np.empty(total, dtype=int)
        for index, (rows, count) in enumerate(zip(corpora, counts, strict=True)):
            epochs = [rng.permutation(len(rows)) for _ in range(-(-count // len(rows)))]
            self.row[self.source == index] = np.concatenate([*epochs, np.empty(0, dtype=int)])[:count]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: int) -> Sequence:
        return self.corpora[self.source[index]][self.row[index]]
