"""Merging by token: rows of embeddings and heads are matched by what their tokens are, not by where
they stand.

As in mergekit, a model without a token of the result gets a row of those that have it: the base's,
or else the mean. So all models have all rows, and every method applies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.computed import Computed, Source, read_fp32
from langmerge.merging.layouts import Place
from langmerge.merging.names import EMBEDDINGS, HEAD
from langmerge.merging.opened import Files
from langmerge.merging.sources import Checkpoint, with_rows
from langmerge.merging.tensors import Array
from langmerge.merging.vocabulary import read_tokens, tokenizer_file
from langmerge.weights import read_json

UNION = "union"
NEW_TOKEN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
"""How a token of another tokenizer is added, as tokenizers' add_tokens does it."""


@dataclass(frozen=True, eq=False)
class Rows(Computed):
    """A tensor (N, K) whose rows are a model's, or for tokens that it lacks, other models'.

    Attributes:
        own: the model's tensor; index (N,): its row for each row here, -1 for none.
        donors: other models' tensors and their rows, likewise; where `index` is -1, the mean of the
            donors that have one.
    """

    own: Source
    index: Array
    donors: tuple[tuple[Source, Array], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.own.shape[1:])

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(
            dict.fromkeys(path for source in (self.own, *(each for each, _ in self.donors)) for path in source.files)
        )

    @property
    def file(self) -> Path:
        return self.own.file

    @property
    def stored_dtype(self) -> np.dtype:
        return self.own.stored_dtype

    @property
    def used(self) -> int:
        """How many of the model's own rows are here."""
        return np.unique(self.index[self.index >= 0]).size

    def fill(self, files: Files, start: int, out: Array) -> None:
        width = self.size // len(self.index)
        first, last = start // width, -(-(start + out.size) // width)
        rows = np.zeros((last - first, width), np.float32)
        index = self.index[first:last]
        # Consecutive rows are read at once.
        ends = np.flatnonzero(np.diff(index, append=-2) != 1) + 1
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            if index[begin] >= 0:
                read_fp32(files, self.own, int(index[begin]) * width, rows[begin:end].reshape(-1))
        for row in np.flatnonzero(index < 0):
            given = [(source, rows_of[first + row]) for source, rows_of in self.donors if rows_of[first + row] >= 0]
            for source, number in given:
                donated = np.empty(width, np.float32)
                read_fp32(files, source, int(number) * width, donated)
                rows[row] += donated
            if len(given) > 1:
                rows[row] /= np.float32(len(given))
        skip = start - first * width
        out[:] = rows.reshape(-1)[skip : skip + out.size]


def align(
    checkpoints: Sequence[Checkpoint], main: Checkpoint, base: Path | None, unite: bool
) -> tuple[list[Checkpoint], bytes | None]:
    """The models with the rows of one vocabulary: `main`'s, or with `unite`, all models'.

    Returns:
        The models, and the content of the result's tokenizer.json unless it is `main`'s own.

    Raises:
        UserError: a model has no tokenizer.json or no word embeddings, or `main`'s tokens have no
            rows.
    """
    names = [name for name in (*EMBEDDINGS, HEAD) if name in main.tensors]
    if not names:
        raise UserError(f"{main.name} has no word embeddings that can be merged by token. Leave `tokenizer` out.")
    tokens = [tokens_of(checkpoint, names) for checkpoint in checkpoints]
    target = dict(tokens[list(checkpoints).index(main)])
    rows = main.tensors[names[0]].shape[0]
    text = None
    if unite:
        rows = max(target.values()) + 1
        own = len(target)
        for theirs in tokens:
            for token in sorted(theirs, key=theirs.__getitem__):
                if token not in target:
                    target[token], rows = rows, rows + 1
        text = united(main, checkpoints, target, own)
    numbers = [
        numbers_of(theirs, target, rows, checkpoint is main)
        for theirs, checkpoint in zip(tokens, checkpoints, strict=True)
    ]
    result = []
    for index, checkpoint in enumerate(checkpoints):
        others = [other for other in range(len(checkpoints)) if other != index]
        aligned = {
            name: Rows(checkpoint.tensors[name], numbers[index], donors(checkpoints, numbers, others, name, base))
            for name in names
        }
        layout = checkpoint.layout
        places = {name: Place(layout.places[name].name, aligned[name].shape) for name in names}
        layout = replace(layout, tensors=layout.tensors | aligned, places=layout.places | places)
        result.append(replace(checkpoint, layout=layout, config=with_rows(checkpoint.config, layout)))
    return result, text


def tokens_of(checkpoint: Checkpoint, names: Sequence[str]) -> dict[str, int]:
    """The tokens of a model that have rows, by their ids there."""
    path = tokenizer_file(checkpoint)
    if path is None:
        raise UserError(
            f"{checkpoint.name} has no tokenizer.json, which merging by token needs. Save its tokenizer as a fast one."
        )
    for name in names:
        if name not in checkpoint.tensors:
            raise UserError(f"{checkpoint.name} has no {name}, which merging by token needs.")
    own, added = read_tokens(path)
    rows = min(checkpoint.tensors[name].shape[0] for name in names)
    return {token: number for token, number in (own | added).items() if number < rows}


def numbers_of(theirs: Mapping[str, int], target: Mapping[str, int], rows: int, is_main: bool) -> Array:
    """A model's row for each row of the result (N,), -1 for none; `main` keeps rows without a
    token."""
    numbers = np.full(rows, -1)
    if is_main:
        named = set(target.values())
        for row in range(rows):
            if row not in named:
                numbers[row] = row
    for token, row in target.items():
        numbers[row] = theirs.get(token, -1)
    return numbers


def donors(
    checkpoints: Sequence[Checkpoint], numbers: Sequence[Array], others: Sequence[int], name: str, base: Path | None
) -> tuple[tuple[Source, Array], ...]:
    """The other models' tensors and rows: where the base has a row, no other model gives one."""
    has_base = next((numbers[index] >= 0 for index in others if checkpoints[index].name == base), None)
    found = []
    for index in others:
        rows = numbers[index]
        if has_base is not None and checkpoints[index].name != base:
            rows = np.where(has_base, -1, rows)
        found.append((checkpoints[index].tensors[name], rows))
    return tuple(found)


def united(main: Checkpoint, checkpoints: Sequence[Checkpoint], target: Mapping[str, int], own: int) -> bytes | None:
    """main's tokenizer.json with the tokens that it lacks as added ones, None if it lacks none."""
    if len(target) == own:
        return None
    content: dict[str, Any] = dict(read_json(tokenizer_file(main)))
    settings: dict[str, Mapping[str, Any]] = {}
    for checkpoint in checkpoints:
        for token in read_json(tokenizer_file(checkpoint)).get("added_tokens") or []:
            settings.setdefault(token["content"], token)
    added = [
        {**NEW_TOKEN, **settings.get(token, {}), "id": number, "content": token}
        for token, number in list(target.items())[own:]
    ]
    content["added_tokens"] = [*(content.get("added_tokens") or []), *added]
    return (json.dumps(content, ensure_ascii=False) + "\n").encode()
