"""Whether checkpoints can be merged: the same tensors in the same shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common import UserError
from merging.checkpoint import Checkpoint

HEAD = "lm_head.weight"


def tensors_to_merge(checkpoints: Sequence[Checkpoint], config_source: Checkpoint) -> list[str]:
    """Names of the tensors that all checkpoints have, sorted.

    If the model whose config is used ties its word embeddings, an output head that only some store is left out: it is a copy of the embeddings.

    Raises:
        UserError: a tensor is missing somewhere, or shapes or vocabulary sizes differ.
    """
    check_vocabularies(checkpoints)
    every = {name: checkpoint for checkpoint in reversed(checkpoints) for name in checkpoint.tensors}
    if setting(config_source, "tie_word_embeddings") and any(HEAD not in checkpoint.tensors for checkpoint in checkpoints):
        every.pop(HEAD, None)
    for name, owner in sorted(every.items()):
        for checkpoint in checkpoints:
            check_tensor(name, owner, checkpoint)
    return sorted(every)


def check_tensor(name: str, owner: Checkpoint, other: Checkpoint) -> None:
    """Refuse a tensor of `owner` that `other` lacks, or has in another shape."""
    tensor = owner.tensors[name]
    if name not in other.tensors:
        files = ", ".join(str(path) for path in other.files[:3]) + (", ..." if len(other.files) > 3 else "")
        raise UserError(
            f"{name} {list(tensor.shape)} is in {tensor.file} but not in {other.folder} ({files}). "
            "Models can be merged only if they have the same architecture, tensor by tensor."
        )
    found = other.tensors[name]
    if found.shape != tensor.shape:
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
            f"the vocabularies differ in size: {found}. Merging needs models that share a tokenizer. If one was only padded or had unused tokens "
            "added, give all one size with transformers' resize_token_embeddings and save them; if the tokenizers differ, they cannot be merged."
        )


def setting(checkpoint: Checkpoint, name: str) -> Any:
    """A value of config.json, None where there is none; multimodal models keep those of their language model in text_config."""
    return checkpoint.config.get(name, (checkpoint.config.get("text_config") or {}).get(name))
