"""Whether checkpoints can be merged, and which of their tensors are merged, copied or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.alignment import align
from langmerge.merging.checkpoint import Tensor
from langmerge.merging.heads import settle_heads
from langmerge.merging.layouts import Place
from langmerge.merging.meaning import check_meaning
from langmerge.merging.names import of_language_model
from langmerge.merging.recipe import Recipe
from langmerge.merging.sources import Checkpoint, setting
from langmerge.weights import read_json

OTHERS_TOWER = "not of the language model, which alone is merged: tokenizer_source's are taken"
OTHERS_BUFFER = "integers or booleans: tokenizer_source's are taken"


@dataclass(frozen=True)
class Plan:
    """What a merge does with each tensor. Names are the common ones.

    Attributes:
        checkpoints: the recipe's models, the base first if there is one; each has all of `merged`.
        main: tokenizer_source's, one of them.
        merged: the shapes that are merged, by names in the order of the result's.
        copied: tokenizer_source's floating-point tensors that are copied.
        buffers: its integers and booleans, which are copied.
        config: what changes in its config.json.
        left_out: for each model, why its other tensors are left out.
        tokenizer: the content of tokenizer.json, unless it is tokenizer_source's.
    """

    checkpoints: list[Checkpoint]
    main: Checkpoint
    merged: Mapping[str, tuple[int, ...]]
    copied: tuple[str, ...]
    buffers: Mapping[str, Tensor]
    config: Mapping[str, Any]
    left_out: tuple[Mapping[str, str], ...]
    tokenizer: bytes | None = None

    def place(self, name: str) -> Place:
        """Where a tensor is in the result: as in tokenizer_source."""
        return self.main.layout.places[name]


def plan_merge(checkpoints: Sequence[Checkpoint], main: Checkpoint, recipe: Recipe) -> Plan:
    """Decide what becomes of every tensor.

    With `rows: common` the smallest shape is merged, of the rows that all have; else all have the
    same shape. Towers beside the language model are copied unless the recipe merges them.

    Raises:
        UserError: a tensor is missing somewhere, shapes or sizes of vocabularies differ, or equal
            shapes mean something else.
    """
    if not (recipe.common_rows or recipe.by_token):
        check_vocabularies(checkpoints)
    check_meaning(checkpoints, main, (*recipe.accepted, *(["tokens"] if recipe.by_token else [])))
    heads = settle_heads(checkpoints, main)
    index = list(checkpoints).index(main)
    opened, tokenizer = heads.checkpoints, None
    if recipe.by_token:
        opened, tokenizer = align(opened, opened[index], recipe.base, recipe.by_token == "union")
    main = opened[index]
    rows = setting(main.config, "vocab_size")
    more_rows = rows != setting(checkpoints[index].config, "vocab_size")
    changes = {**heads.config, **({"vocab_size": rows} if more_rows else {})}
    copied = () if recipe.other_towers else tuple(name for name in main.tensors if not of_language_model(name))
    left_out: list[dict[str, str]] = [{} for _ in opened]
    owners: dict[str, Checkpoint] = {}
    for checkpoint, reasons in zip(reversed(opened), reversed(left_out), strict=True):
        for name in checkpoint.tensors:
            if recipe.other_towers or of_language_model(name):
                owners[name] = checkpoint
            elif checkpoint is not main:
                reasons[name] = OTHERS_TOWER
        if checkpoint is not main:
            reasons |= dict.fromkeys(checkpoint.layout.buffers, OTHERS_BUFFER)
    check_buffers(opened)
    for name, owner in sorted(owners.items()):
        for checkpoint in opened:
            check_tensor(name, owner, checkpoint, recipe.common_rows)
    order = sorted(owners, key=lambda name: (main.layout.places[name].name, main.layout.places[name].start))
    merged = {name: min(checkpoint.tensors[name].shape for checkpoint in opened) for name in order}
    return Plan(opened, main, merged, copied, main.layout.buffers, changes, tuple(left_out), tokenizer)


def check_buffers(checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse a tensor of integers that is one of weights in another model."""
    for checkpoint in checkpoints:
        for name, tensor in checkpoint.layout.buffers.items():
            other = next((other for other in checkpoints if name in other.tensors), None)
            if other:
                raise UserError(
                    f"{tensor.file}: {name} holds integers or booleans, and weights in {other.tensors[name].file}. Only "
                    "floating-point weights can be merged, not quantised ones."
                )


def check_tensor(name: str, owner: Checkpoint, other: Checkpoint, common_rows: bool) -> None:
    """Refuse a tensor of `owner` that `other` lacks or has in another shape.

    With `common_rows`, a tensor with a row for each token may have another number of rows.
    """
    tensor = owner.tensors[name]
    if name not in other.tensors:
        files = ", ".join(str(path) for path in other.files[:3]) + (", ..." if len(other.files) > 3 else "")
        raise UserError(
            f"{name} {list(tensor.shape)} is in {tensor.file} but not in {other.name} ({files}). "
            f"{like_it(name, tensor.shape, owner, other)}Models can be merged only if they have the same architecture, tensor "
            "by tensor."
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


def like_it(name: str, shape: tuple[int, ...], owner: Checkpoint, other: Checkpoint) -> str:
    """Say if only names differ: a tensor of `other` that `owner` lacks has this shape and a name
    with the same end.
    """
    end = ".".join(name.split(".")[-2:])
    for own, tensor in other.tensors.items():
        if own not in owner.tensors and tensor.shape == shape and own.endswith(end):
            return (
                f"There it may be {own}: the names differ in a way that langmerge does not know. Load and save that model "
                "with the transformers that wrote the other one. "
            )
    return ""


def check_vocabularies(checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse vocabularies of different sizes."""
    sizes = {checkpoint.name: setting(checkpoint.config, "vocab_size") for checkpoint in checkpoints}
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
    return checkpoint.tensors[name].shape[:1] == (setting(checkpoint.config, "vocab_size"),)


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
        size = setting(checkpoint.config, "vocab_size")
        if not isinstance(size, int) or last["id"] >= size:
            raise UserError(
                f"{path}: the special token {last.get('content')!r} has the id {last['id']}, and {checkpoint.folder} "
                f"has {size} rows of tokens (vocab_size in config.json). Name a model that has it as special_tokens, or "
                "leave special_tokens out."
            )
    return sorted({token["id"] for token in special})
