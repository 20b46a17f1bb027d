"""What a merge would do with every weight, and which models do not fit, without merging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.checkpoint import Tensor
from langmerge.merging.compatibility import plan_merge
from langmerge.merging.engine import Merge
from langmerge.merging.heads import is_tied
from langmerge.merging.layouts import model_type
from langmerge.merging.names import HEAD, of_language_model
from langmerge.merging.recipe import Recipe
from langmerge.merging.sources import Checkpoint, open_checkpoint
from langmerge.merging.tensors import tensor_infos

ANY_SIZE = 2**62


def inspect(recipe: Recipe) -> tuple[list[str], bool]:
    """Lines about each model and the merge of all; whether they can be merged.

    Every model is opened and compared with tokenizer_source by itself, so that one that does not
    fit hides no other. Models whose layers are stacked need not have as many.
    """
    lines: list[str] = []
    opened: dict[Path, Checkpoint] = {}
    faults = 0
    for name in recipe.folders:
        try:
            opened[name] = open_checkpoint(name)
        except UserError as error:
            lines += [f"{name}: cannot be read", f"  {error}"]
            faults += 1
    main = opened.get(recipe.tokenizer_source)
    for name, checkpoint in opened.items():
        lines += [f"{name}: {describe(checkpoint)}"]
        if main and checkpoint is not main and not recipe.stack:
            try:
                plan_merge([main, checkpoint], main, recipe)
                lines.append(f"  fits {main.name}")
            except UserError as error:
                lines.append(f"  does not fit {main.name}: {error}")
                faults += 1
    if faults:
        return lines, False
    try:
        merge = Merge(recipe, 0, ANY_SIZE)
    except UserError as error:
        return [*lines, f"The merge is refused: {error}"], False
    for checkpoint, counts in zip(merge.sources, merge.coverage(), strict=True):
        lines += [f"{checkpoint.name}, of what its files hold:", *table(counts)]
    return lines, True


def describe(checkpoint: Checkpoint) -> str:
    """A model in one line: its type, size, layers, head and how it is stored."""
    layout = checkpoint.layout
    types = Counter(str(tensor.stored_dtype) for tensor in layout.tensors.values())
    infos = tensor_infos({name: tensor.shape for name, tensor in layout.tensors.items() if of_language_model(name)})
    layers = max((info.layers for info in infos.values()), default=0)
    head = "a head of its own" if HEAD in layout.tensors else "a tied head" if is_tied(checkpoint) else "no head"
    computed = sum(not isinstance(tensor, Tensor) for tensor in layout.tensors.values())
    parts = [
        model_type(checkpoint.config) or "no model_type",
        f"{len(layout.stored):,} tensors",
        f"{sum(layout.stored.values()):,} weights",
        f"{layers} layers",
        " and ".join(sorted(types)),
        head,
        *([f"{computed:,} tensors dequantised or adapted"] if computed else []),
        *(["other towers beside the language model"] if not all(map(of_language_model, layout.tensors)) else []),
    ]
    return ", ".join(parts)


def table(counts: Mapping[str, Any]) -> Iterator[str]:
    """The counts of one model, as lines."""
    rows = [(fate, count) for fate, count in counts.items() if fate != "left_out"]
    rows += [(f"left out: {reason}", count) for reason, count in counts.get("left_out", {}).items()]
    for name, count in rows:
        yield f"  {count['tensors']:>7,} tensors {count['weights']:>16,} weights  {name}"
