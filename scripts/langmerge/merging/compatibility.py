"""Whether checkpoints can be merged: they must have the same tensors in the same shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.checkpoint import Checkpoint
from langmerge.weights import read_json

HEAD = "lm_head.weight"


def tensors_to_merge(
    checkpoints: Sequence[Checkpoint], config_source: Checkpoint, common_rows: bool
) -> dict[str, tuple[int, ...]]:
    """The tensors that all checkpoints have, sorted by name, each with the shape that is merged.

    With `common_rows` that is the smallest shape, of the rows that all have; else all have the same
    shape. If the model whose config is used ties its word embeddings, an output head that only some
    models store is left out: it is a copy of the embeddings.

    Raises:
        UserError: a tensor is missing somewhere, or shapes or sizes of vocabularies differ.
    """
    if not common_rows:
        check_vocabularies(checkpoints)
    owners = {name: checkpoint for checkpoint in reversed(checkpoints) for name in checkpoint.tensors}
    if setting(config_source, "tie_word_embeddings") and any(
        HEAD not in checkpoint.tensors for checkpoint in checkpoints
    ):
        owners.pop(HEAD, None)
    for name, owner in sorted(owners.items()):
        for checkpoint in checkpoints:
            check_tensor(name, owner, checkpoint, common_rows)
    return {name: min(checkpoint.tensors[name].shape for checkpoint in checkpoints) for name in sorted(owners)}


def check_tensor(name: str, owner: Checkpoint, other: Checkpoint, common_rows: bool) -> None:
    """Refuse a tensor of `owner` that `other` lacks or has in another shape.

    With `common_rows`, a tensor with a row for each token may have another number of rows.
    """
    tensor = owner.tensors[name]
    if name not in other.tensors:
        files = ", ".join(str(path) for path in other.files[:3]) + (", ..." if len(other.files) > 3 else "")
        raise UserError(
            f"{name} {list(tensor.shape)} is in {tensor.file} but not in {other.folder} ({files}). "
            "Models can be merged only if they have the same architecture, tensor by tensor."
        )
    counterpart = other.tensors[name]
    more_rows = (
        common_rows
        and has_token_rows(name, owner)
        and has_token_rows(name, other)
        and counterpart.shape[1:] == tensor.shape[1:]
    )
    if counterpart.shape != tensor.shape and not more_rows:
        raise UserError(
            f"{name} is {list(tensor.shape)} in {tensor.file} and {list(counterpart.shape)} in {counterpart.file}. "
            "Models can be merged only if they have the same architecture, size and vocabulary."
        )


def check_vocabularies(checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse vocabularies of different sizes."""
    sizes = {checkpoint.folder: setting(checkpoint, "vocab_size") for checkpoint in checkpoints}
    sizes = {folder: size for folder, size in sizes.items() if size is not None}
    if len(set(sizes.values())) > 1:
        listing = ", ".join(f"{folder} has {size}" for folder, size in sizes.items())
        raise UserError(
            f"the vocabularies differ in size: {listing}. Merging needs models that share a tokenizer. If one was only "
            "padded or had tokens added at the end, add `rows: common` to the recipe: it merges the rows that all have "
            "and takes the rest from tokenizer_source. Or give all of them one size with transformers' "
            "resize_token_embeddings and save them. If the tokenizers differ, the models cannot be merged."
        )


def has_token_rows(name: str, checkpoint: Checkpoint) -> bool:
    """Whether a tensor has a row for each token: word embeddings and the output head."""
    return checkpoint.tensors[name].shape[:1] == (setting(checkpoint, "vocab_size"),)


def special_rows(tokenizer_source: Checkpoint, source: Checkpoint) -> list[int]:
    """The sorted ids of tokenizer_source's special tokens, whose rows are copied from `source`.

    Raises:
        UserError: tokenizer.json is missing or names no special token, or a special token has no
            row in one of the two models.
    """
    path = tokenizer_source.folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"{path} is missing, where special_tokens looks up which tokens are special. Save the tokenizer as a fast "
            "one, AutoTokenizer.from_pretrained(folder).save_pretrained(folder), or leave special_tokens out."
        )
    added = read_json(path).get("added_tokens")
    special = (
        [token for token in added if isinstance(token, dict) and token.get("special")]
        if isinstance(added, list)
        else []
    )
    if not special:
        raise UserError(
            f"{path} has no added_tokens with `special: true`, whose rows special_tokens would take. Leave it out."
        )
    for token in special:
        if type(token.get("id")) is not int or token["id"] < 0:
            raise UserError(
                f"{path}: the special token {token.get('content')!r} has the id {token.get('id')!r}, expected a number."
            )
    last = max(special, key=lambda token: token["id"])
    for checkpoint in (tokenizer_source, source):
        size = setting(checkpoint, "vocab_size")
        if not isinstance(size, int) or last["id"] >= size:
            raise UserError(
                f"{path}: the special token {last.get('content')!r} has the id {last['id']}, and {checkpoint.folder} "
                f"has {size} rows of tokens (vocab_size in config.json). Name a model that has it as special_tokens, or "
                "leave special_tokens out."
            )
    return sorted({token["id"] for token in special})


def setting(checkpoint: Checkpoint, name: str) -> Any:
    """A value of config.json, or of the text_config that multimodal models have in it."""
    return checkpoint.config.get(name, (checkpoint.config.get("text_config") or {}).get(name))
