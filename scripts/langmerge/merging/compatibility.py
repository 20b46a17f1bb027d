"""Whether checkpoints can be merged: the same tensors in the same shapes, at least in the rows that they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.checkpoint import Checkpoint, read_json

HEAD = "lm_head.weight"


def tensors_to_merge(
    checkpoints: Sequence[Checkpoint], config_source: Checkpoint, common_rows: bool
) -> dict[str, tuple[int, ...]]:
    """The tensors that all checkpoints have, by their sorted names, and the shape of what all have of each: the whole, unless `common_rows`.

    If the model whose config is used ties its word embeddings, an output head that only some store is left out: it is a copy of the embeddings.

    Raises:
        UserError: a tensor is missing somewhere, or shapes or vocabulary sizes differ.
    """
    if not common_rows:
        check_vocabularies(checkpoints)
    every = {name: checkpoint for checkpoint in reversed(checkpoints) for name in checkpoint.tensors}
    if setting(config_source, "tie_word_embeddings") and any(
        HEAD not in checkpoint.tensors for checkpoint in checkpoints
    ):
        every.pop(HEAD, None)
    for name, owner in sorted(every.items()):
        for checkpoint in checkpoints:
            check_tensor(name, owner, checkpoint, common_rows)
    return {name: min(checkpoint.tensors[name].shape for checkpoint in checkpoints) for name in sorted(every)}


def check_tensor(name: str, owner: Checkpoint, other: Checkpoint, common_rows: bool) -> None:
    """Refuse a tensor of `owner` that `other` lacks, or has in another shape; with `common_rows`, tokens' rows may be more or fewer."""
    tensor = owner.tensors[name]
    if name not in other.tensors:
        files = ", ".join(str(path) for path in other.files[:3]) + (", ..." if len(other.files) > 3 else "")
        raise UserError(
            f"{name} {list(tensor.shape)} is in {tensor.file} but not in {other.folder} ({files}). "
            "Models can be merged only if they have the same architecture, tensor by tensor."
        )
    found = other.tensors[name]
    more_rows = (
        common_rows
        and has_token_rows(name, owner)
        and has_token_rows(name, other)
        and found.shape[1:] == tensor.shape[1:]
    )
    if found.shape != tensor.shape and not more_rows:
        raise UserError(
            f"{name} is {list(tensor.shape)} in {tensor.file} and {list(found.shape)} in {found.file}. "
            "Models can be merged only if they have the same architecture, size and vocabulary."
        )


def check_vocabularies(checkpoints: Sequence[Checkpoint]) -> None:
    sizes = {checkpoint.folder: setting(checkpoint, "vocab_size") for checkpoint in checkpoints}
    sizes = {folder: size for folder, size in sizes.items() if size is not None}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{folder} has {size}" for folder, size in sizes.items())
        raise UserError(
            f"the vocabularies differ in size: {found}. Merging needs models that share a tokenizer. If one was only padded or had tokens added "
            "at the end, put `rows: common` into the recipe: it merges the rows that all have and takes the rest from tokenizer_source. Or give "
            "all one size with transformers' resize_token_embeddings and save them. If the tokenizers differ, they cannot be merged."
        )


def has_token_rows(name: str, checkpoint: Checkpoint) -> bool:
    """Whether a tensor has a row for each token: word embeddings and the output head."""
    return checkpoint.tensors[name].shape[:1] == (setting(checkpoint, "vocab_size"),)


def special_rows(tokenizer_source: Checkpoint, source: Checkpoint) -> list[int]:
    """The ids of tokenizer_source's special tokens, whose rows are to be taken from `source`; sorted.

    Raises:
        UserError: tokenizer.json is missing or names no special token, or one has no row in one of the two models.
    """
    path = tokenizer_source.folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"{path} is missing, where special_tokens looks up which tokens are special. "
            "Save the tokenizer as a fast one, AutoTokenizer.from_pretrained(folder).save_pretrained(folder), or leave special_tokens out."
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
                f"{path}: the special token {last.get('content')!r} has the id {last['id']}, and {checkpoint.folder} has {size} rows of "
                "tokens (vocab_size in config.json). Name a model that has it as special_tokens, or leave special_tokens out."
            )
    return sorted({token["id"] for token in special})


def setting(checkpoint: Checkpoint, name: str) -> Any:
    """A value of config.json, None where there is none; multimodal models keep those of their language model in text_config."""
    return checkpoint.config.get(name, (checkpoint.config.get("text_config") or {}).get(name))
