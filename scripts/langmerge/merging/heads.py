"""Output heads: which models have one of their own, and which use their word embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.layouts import head_place, model_type
from langmerge.merging.names import EMBEDDINGS, HEAD
from langmerge.merging.sources import Checkpoint, same_weights, setting

COPY = "a copy of the word embeddings, which the result ties"
TIED_BY_DEFAULT = {
    "aya_vision",
    "bloom",
    "cohere",
    "cohere2",
    "cohere2_moe",
    "cohere2_vision",
    "ernie4_5",
    "ernie4_5_moe",
    "falcon",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3n",
    "gemma4",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "lfm2",
    "lfm2_moe",
    "mpt",
    "opt",
    "paligemma",
    "smollm3",
    "starcoder2",
    "vaultgemma",
    "xglm",
    "zamba",
    "zamba2",
}
"""Types of models whose config ties the head to the embeddings where it does not say so, as in
transformers 5."""


@dataclass(frozen=True)
class Heads:
    """The models with an output head each, or none of them.

    Attributes:
        checkpoints: in the order that they were given in.
        config: what changes in the config of the result.
        left_out: whether heads are left out, as copies.
        untied: models that have no head, where the result has one; their embeddings stand for it.
    """

    checkpoints: list[Checkpoint]
    config: Mapping[str, Any]
    left_out: bool = False
    untied: tuple[Checkpoint, ...] = ()


def settle_heads(checkpoints: Sequence[Checkpoint], main: Checkpoint) -> Heads:
    """Give all models a head, or none.

    A head that is a copy of the word embeddings is left out if the result ties the two. But one
    model's head that was trained is reason enough to untie the result, in which the embeddings of
    the other models stand for their heads. A config that ties is no proof: heads are compared.

    Raises:
        UserError: a model has no head, and its config does not tie one to the embeddings.
    """
    stored = [checkpoint for checkpoint in checkpoints if HEAD in checkpoint.tensors]
    if not stored or (len(stored) == len(checkpoints) and not is_tied(main)):
        return Heads(list(checkpoints), {})
    own = [checkpoint for checkpoint in stored if not is_copy(checkpoint)]
    if not own and is_tied(main):
        return Heads([without_head(checkpoint) for checkpoint in checkpoints], {}, left_out=True)
    untied = tuple(checkpoint for checkpoint in checkpoints if HEAD not in checkpoint.tensors)
    for checkpoint in untied:
        if embeddings_of(checkpoint) is None or not is_tied(checkpoint):
            raise UserError(
                f"{HEAD} {list(stored[0].tensors[HEAD].shape)} is in {stored[0].tensors[HEAD].file} but not in "
                f"{checkpoint.name}, whose config does not tie it to the word embeddings. Download that model again, or set "
                "tie_word_embeddings: true in its config.json if it has no head of its own."
            )
    config = {"tie_word_embeddings": False} if is_tied(main) else {}
    return Heads([with_head(checkpoint) for checkpoint in checkpoints], config, untied=untied)


def is_tied(checkpoint: Checkpoint) -> bool:
    """Whether a config ties the head to the word embeddings, by itself or because its type does."""
    said = setting(checkpoint.config, "tie_word_embeddings")
    return bool(said) if said is not None else model_type(checkpoint.config) in TIED_BY_DEFAULT


def embeddings_of(checkpoint: Checkpoint) -> str | None:
    """The name of a model's word embeddings."""
    return next((name for name in EMBEDDINGS if name in checkpoint.tensors), None)


def is_copy(checkpoint: Checkpoint) -> bool:
    """Whether the head that a model stores is a copy of its word embeddings."""
    embeddings = embeddings_of(checkpoint)
    return embeddings is not None and same_weights(checkpoint.tensors[embeddings], checkpoint.tensors[HEAD])


def without_head(checkpoint: Checkpoint) -> Checkpoint:
    """A model without its head, which is left out."""
    if HEAD not in checkpoint.tensors:
        return checkpoint
    layout = checkpoint.layout
    return replace(
        checkpoint,
        layout=replace(
            layout,
            tensors={name: tensor for name, tensor in layout.tensors.items() if name != HEAD},
            uses={name: uses for name, uses in layout.uses.items() if name != HEAD},
            left_out=layout.left_out | dict.fromkeys(layout.uses[HEAD], COPY),
        ),
    )


def with_head(checkpoint: Checkpoint) -> Checkpoint:
    """A model whose word embeddings are its head, too, if it has none."""
    if HEAD in checkpoint.tensors:
        return checkpoint
    layout, embeddings = checkpoint.layout, embeddings_of(checkpoint)
    return replace(
        checkpoint,
        layout=replace(
            layout,
            tensors=layout.tensors | {HEAD: layout.tensors[embeddings]},
            places=layout.places | {HEAD: head_place(layout, embeddings)},
            uses=layout.uses | {HEAD: {}},
        ),
    )
