"""Tokens and their ids: whether two models mean the same token by the same row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.sources import Checkpoint
from langmerge.weights import read_json


def tokenizer_file(checkpoint: Checkpoint) -> Path | None:
    """A model's tokenizer.json, its adapter's if that has one; None if there is none."""
    files = (folder / "tokenizer.json" for folder in reversed(checkpoint.folders))
    return next((path for path in files if path.is_file()), None)


def read_tokens(path: Path) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """The ids of a tokenizer's own tokens, and those of its added ones.

    Raises:
        UserError: the file is not a tokenizer.json.
    """
    return tokens_in(read_json(path), path)


def tokens_in(content: Mapping[str, Any], path: Path) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """`read_tokens` of a tokenizer.json that was read from `path`, or made from it."""
    model, added = content.get("model"), content.get("added_tokens") or []
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    try:
        if isinstance(vocabulary, list):
            # Unigram: pairs of a token and its score, in the order of the ids.
            own = {token: index for index, (token, _) in enumerate(vocabulary)}
        else:
            own = dict(vocabulary)
        others = {token["content"]: token["id"] for token in added}
    except (TypeError, ValueError, KeyError):
        raise UserError(
            f"{path} has no vocabulary under model.vocab, or added_tokens without ids. Save it again."
        ) from None
    for token, number in (own | others).items():
        if type(number) is not int or number < 0:
            raise UserError(f"{path}: the token {token!r} has the id {number!r}, expected a number.")
    return own, others


def check_tokens(checkpoint: Checkpoint, main: Checkpoint) -> None:
    """Refuse a model that has a token of `main`'s under another id, or another token under its id.

    Tokens that were added later may have another name: chat formats rename reserved tokens. A model
    without tokenizer.json is not compared.
    """
    ours, theirs = tokenizer_file(main), tokenizer_file(checkpoint)
    if not ours or not theirs or same_file(ours, theirs):
        return
    (own, own_added), (other, other_added) = read_tokens(ours), read_tokens(theirs)
    every, others = own | own_added, other | other_added
    if every == others:
        return
    moved = [token for token, number in others.items() if every.get(token, number) != number]
    if moved:
        token = moved[0]
        raise UserError(
            f"the tokens of {theirs} and {ours} have other ids: {len(moved)} of {len(others)}, such as {token!r} with "
            f"{others[token]} and {every[token]}. Rows of embeddings would be mixed up. If you know that the tokenizers "
            "agree, add `accept: [tokens]` to the recipe; to merge by token, see `tokenizer` in docs/merging.md."
        )
    by_number = {number: token for token, number in own.items()}
    renamed = [
        (number, token)
        for token, number in other.items()
        if token not in every and by_number.get(number, token) != token and by_number[number] not in own_added
    ]
    if renamed:
        number, token = renamed[0]
        raise UserError(
            f"the tokenizers {theirs} and {ours} have other tokens under the same ids: {len(renamed)}, such as {token!r} and "
            f"{by_number[number]!r} under {number}. Rows of embeddings would be mixed up. If you know that the tokenizers "
            "agree, add `accept: [tokens]` to the recipe."
        )


def same_file(first: Path, second: Path) -> bool:
    """Whether two files have the same content."""
    return first.stat().st_size == second.stat().st_size and first.read_bytes() == second.read_bytes()
