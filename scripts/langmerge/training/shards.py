"""Tokenised corpora: folders of shards that training maps into memory.

meta.json              the tokenizer's hash, its number of tokens, documents, tokens, bytes of
                       text, document_end
shards/NAME.bin        tokens, uint32, little-endian
shards/NAME.idx.npy    where each document starts in them, and the end; uint64
shards/NAME.labels.bin one byte a token, 1 where it is learned; only beside conversations
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from langmerge.errors import UserError
from langmerge.tokens import META, SHARDS, tokenizer_hash

Tokens = list[int]
Labels = list[int]
"""1 for a token that is learned, 0 for one that is only read."""


@dataclass(frozen=True)
class Shard:
    """One file of tokens; it is opened when it is first read.

    Attributes:
        path: the .bin file.
        starts: uint64 of shape [documents + 1], the last one the number of tokens.
    """

    path: Path
    starts: np.ndarray = field(compare=False)

    @cached_property
    def tokens(self) -> np.ndarray:
        """All tokens, uint32 of shape [tokens]."""
        return np.memmap(self.path, dtype="<u4", mode="r")

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Which tokens are learned, uint8 of shape [tokens]; None for all of them."""
        file = labels_of(self.path)
        return np.memmap(file, dtype=np.uint8, mode="r") if file.is_file() else None


class Corpus:
    """A tokenised corpus.

    Attributes:
        folder, meta: its folder and the content of its meta.json.
        shards: those that hold tokens, by name.
    """

    def __init__(self, folder: Path) -> None:
        """Open a corpus; no token is read.

        Raises:
            UserError: the folder is no tokenised corpus, it is empty, or a file is cut.
        """
        self.folder = folder
        try:
            self.meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: not a tokenised corpus: its {META} cannot be read: {error}.") from error
        opened = [open_shard(path) for path in sorted((folder / SHARDS).glob("*.bin")) if path.suffixes == [".bin"]]
        self.shards = [shard for shard in opened if len(shard.starts) > 1]
        found = sum(int(shard.starts[-1]) for shard in self.shards)
        if found != self.meta["tokens"]:
            raise UserError(
                f"{folder}: {META} counts {self.meta['tokens']:,} tokens, and the shards hold {found:,}. Tokenise it again."
            )
        if not found:
            raise UserError(f"{folder}: the corpus holds no token.")

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse tokens that are another tokenizer's.

        Raises:
            UserError: the corpus was made with another tokenizer than this one.
        """
        if self.meta["tokenizer"] != tokenizer_hash(tokenizer):
            raise UserError(
                f"{self.folder} was tokenised with another tokenizer than that of {tokenizer.name_or_path}. "
                "Tokenise the corpus with the tokenizer of the model that is trained."
            )


def open_shard(path: Path) -> Shard:
    """A shard, with its index checked against the size of its file.

    Raises:
        UserError: the index is missing, or does not end where the tokens end.
    """
    try:
        starts = np.load(path.with_name(f"{path.stem}.idx.npy"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: its index cannot be read: {error}. Tokenise the corpus again.") from error
    if int(starts[-1]) * 4 != path.stat().st_size:
        raise UserError(
            f"{path}: {path.stat().st_size:,} bytes, but its index ends at token {int(starts[-1]):,}, 4 bytes each. "
            "Tokenise the corpus again."
        )
    return Shard(path, starts)


def labels_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.labels.bin")


def write_shard(path: Path, documents: Iterable[tuple[Tokens, Labels | None]]) -> tuple[int, int]:
    """Write documents or conversations and return how many there are, and their tokens.

    Args:
        path: the .bin file, in a folder that is there.
        documents: the tokens of each, and its labels: for all of them, or for none.
    """
    starts = [0]
    labels_file = None
    with path.open("wb") as file:
        for tokens, labels in documents:
            np.array(tokens, dtype="<u4").tofile(file)
            if labels is not None:
                labels_file = labels_file or labels_of(path).open("wb")
                labels_file.write(bytes(labels))
            starts.append(starts[-1] + len(tokens))
    if labels_file:
        labels_file.close()
    np.save(path.with_name(f"{path.stem}.idx.npy"), np.array(starts, dtype="<u8"))
    return len(starts) - 1, starts[-1]
