"""JSON lines to training sequences: tokenised, packed, stored on disk, and mixed by shares.

Every array of sequences is int32 of shape [sequences, 2, length]: row 0 of a sequence holds its
tokens, row 1 their labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from langmerge.errors import UserError
from langmerge.training.lines import read_lines

IGNORED = -100
"""Label of a token without loss, as torch's cross entropy and transformers have it."""

GENERATION_MARK = r"\{%-?\s*generation\s*-?%\}"
"""What transformers looks for in a chat template before it computes the assistant's mask."""

LINES_AT_ONCE = 1000

OPEN_SEQUENCES = 64
"""Sequences that the next conversation may go into. More would leave less padding and cost time."""

Packed = tuple[list[int], list[int]]
"""Tokens and their labels, of the same length."""


def write_sequences(file: Path, corpus: Path, tokenizer: PreTrainedTokenizerBase, length: int) -> None:
    """Tokenise and pack a corpus into a file for `Mixture`.

    Raises:
        UserError: the corpus is missing, empty or malformed, or no token of it has a label.
    """
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    with file.open("wb") as out:
        for tokens, labels in pack_corpus(corpus, tokenizer, length):
            row = np.full((2, length), [[padding], [IGNORED]], dtype=np.int32)
            row[:, : len(tokens)] = tokens, labels
            out.write(row.tobytes())
    if file.stat().st_size == 0:
        raise UserError(
            f"{corpus}: nothing to learn from: its documents are empty, or its conversations have no assistant's turn."
        )


def pack_corpus(corpus: Path, tokenizer: PreTrainedTokenizerBase, length: int) -> Iterator[Packed]:
    """Sequences of at most `length` tokens, first of documents and then of conversations."""
    texts = (record["text"] for record in read_lines(corpus) if "text" in record)
    chats = (record["messages"] for record in read_lines(corpus) if "text" not in record)
    documents = encode_texts(texts, tokenizer)
    conversations = encode_chats(chats, tokenizer, corpus)
    for tokens, labels in chain(pack_texts(documents, length), pack_chats(conversations, length)):
        # Nothing predicts the first token. Without a label after it, the mean loss would be 0/0.
        if any(label != IGNORED for label in labels[1:]):
            yield tokens, labels


def encode_texts(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    """Tokens of each document: what the tokenizer puts first (bos or nothing), the text, eos."""
    for batch in batches(texts):
        for tokens in tokenizer(batch, return_attention_mask=False)["input_ids"]:
            yield tokens if tokens[-1:] == [tokenizer.eos_token_id] else [*tokens, tokenizer.eos_token_id]


def encode_chats(
    chats: Iterable[list[dict[str, str]]], tokenizer: PreTrainedTokenizerBase, corpus: Path
) -> Iterator[Packed]:
    """Tokens and labels of each conversation; only the assistant's turns have labels.

    Raises:
        UserError: there is no chat template, it does not mark the assistant's turns, or it refuses
            a conversation.
    """
    for batch in batches(chats):
        if not re.search(GENERATION_MARK, tokenizer.chat_template or ""):
            raise UserError(
                f"{corpus}: conversations need a chat template that marks the assistant's turns with "
                f"{{% generation %}} ... {{% endgeneration %}}; that of {tokenizer.name_or_path} does not. "
                "Edit its chat_template.jinja."
            )
        try:
            encoded = tokenizer.apply_chat_template(batch, return_dict=True, return_assistant_tokens_mask=True)
        except jinja2.TemplateError as error:
            raise UserError(
                f"{corpus}: the chat template of {tokenizer.name_or_path} refuses a conversation: {error}"
            ) from error
        for tokens, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True):
            yield tokens, [token if learned else IGNORED for token, learned in zip(tokens, mask, strict=True)]


def pack_texts(documents: Iterable[list[int]], length: int) -> Iterator[Packed]:
    """The concatenated documents, cut every `length` tokens. Every token is a label.

    A document attends to those before it in its sequence.
    """
    stream: list[int] = []
    for document in documents:
        stream += document
        whole = len(stream) - len(stream) % length
        for start in range(0, whole, length):
            yield (tokens := stream[start : start + length]), tokens
        del stream[:whole]
    if stream:
        yield stream, stream


def pack_chats(conversations: Iterable[Packed], length: int) -> Iterator[Packed]:
    """Conversations packed by first fit: each stays whole unless it is longer than `length`.

    The next conversation goes into the first of the `OPEN_SEQUENCES` that has room for it.
    """
    open_sequences: list[Packed] = []
    for tokens, labels in conversations:
        for start in range(0, len(tokens), length):
            piece = tokens[start : start + length], labels[start : start + length]
            for sequence in open_sequences:
                if len(sequence[0]) + len(piece[0]) <= length:
                    sequence[0].extend(piece[0])
                    sequence[1].extend(piece[1])
                    break
            else:
                open_sequences.append(piece)
                if len(open_sequences) > OPEN_SEQUENCES:
                    yield open_sequences.pop(0)
    yield from open_sequences


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of items, long enough for the tokenizer to use all threads."""
    iterator = iter(items)
    while batch := list(islice(iterator, LINES_AT_ONCE)):
        yield batch


class Mixture(Dataset):
    """A fixed number of training sequences drawn from several files by shares.

    The order depends on the seed alone. Each file contributes exactly its share of the sequences
    (up to rounding), spread at random over the training. A file's sequences come in random order,
    and each comes once before any comes a second time.

    Args:
        files: written by `write_sequences`.
        shares: one per file, above 0; they are normalised.
        length: tokens per sequence.
        total: number of sequences.
    """

    def __init__(self, files: list[Path], shares: list[float], length: int, total: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.files = [np.memmap(file, dtype=np.int32, mode="r").reshape(-1, 2, length) for file in files]
        ends = np.rint(np.cumsum(shares) / np.sum(shares) * total).astype(int)
        counts = np.diff(ends, prepend=0)
        self.source = rng.permutation(np.repeat(np.arange(len(files)), counts))
        self.row = np.empty(total, dtype=int)
        for index, (rows, count) in enumerate(zip(self.files, counts, strict=True)):
            epochs = [rng.permutation(len(rows)) for _ in range(-(-count // len(rows)))]
            self.row[self.source == index] = np.concatenate([*epochs, np.empty(0, dtype=int)])[:count]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Return {"input_ids", "labels"}, each int64 of shape [length].

        There is no attention mask: padding comes last, where causal attention never reaches it.
        """
        tokens, labels = self.files[self.source[index]][self.row[index]].astype(np.int64)
        return {"input_ids": tokens, "labels": labels}
