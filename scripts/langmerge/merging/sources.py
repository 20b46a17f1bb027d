"""Opening a recipe's model: a folder, or a folder and a LoRA adapter that was trained on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.adapters import add_adapter
from langmerge.merging.checkpoint import Tensor, read_header
from langmerge.merging.computed import Source, read_fp32
from langmerge.merging.layouts import Layout, read_layout
from langmerge.merging.names import EMBEDDINGS
from langmerge.merging.opened import Files
from langmerge.merging.tensors import Array
from langmerge.weights import INDEX, read_json, weight_files, weight_map

COMPARED = 2**22
"""Weights of two tensors that are compared at a time."""


@dataclass(frozen=True)
class Checkpoint:
    """A model of a recipe.

    Attributes:
        name: what the recipe calls it.
        folders: of its texts and tokenizer, the model's own first; then that of its adapter.
        config: the content of config.json.
        layout: its tensors, by their common names.
    """

    name: Path
    folders: tuple[Path, ...]
    config: Mapping[str, Any]
    layout: Layout

    @property
    def folder(self) -> Path:
        """The model's own folder."""
        return self.folders[0]

    @property
    def sources(self) -> tuple[Checkpoint, ...]:
        """The models that it is read from: itself, or those of a stack."""
        return (self,)

    @property
    def tensors(self) -> Mapping[str, Source]:
        """Its floating-point weights by their common names."""
        return self.layout.tensors

    @property
    def files(self) -> list[Path]:
        """The weight files."""
        every = [*self.layout.tensors.values(), *self.layout.buffers.values()]
        return sorted({path for tensor in every for path in tensor.files})


def split_adapter(name: Path) -> tuple[Path, Path | None]:
    """The folders of model and adapter; mergekit's `model+adapter`, unless there is a folder of
    that very name."""
    model, plus, adapter = str(name).rpartition("+")
    return (Path(model), Path(adapter)) if plus and not name.is_dir() else (name, None)


def open_checkpoint(name: Path) -> Checkpoint:
    """Read a model's config and the headers of its weight files.

    Raises:
        UserError: a folder, a file or a tensor is missing, there are two sets of weights, a file is
            not what its header says, or weights are stored in a way that is not supported.
    """
    folder, adapter = split_adapter(name)
    for each in (folder, adapter):
        if each and not each.is_dir():
            raise UserError(
                f"{each}: no such model folder. Models are merged from local folders: download it first, or fix the path."
            )
    config = read_json(folder / "config.json")
    layout = read_layout(config, stored_tensors(folder), same_weights)
    if adapter:
        add_adapter(layout, adapter, folder)
        config = with_rows(config, layout)
    return Checkpoint(name, (folder, *([adapter] if adapter else [])), config, layout)


def with_rows(config: Mapping[str, Any], layout: Layout) -> Mapping[str, Any]:
    """A config with as many tokens as the word embeddings have rows, which an adapter may have
    replaced."""
    rows = next((layout.tensors[name].shape[0] for name in EMBEDDINGS if name in layout.tensors), None)
    if rows is None or setting(config, "vocab_size") in (None, rows):
        return config
    if "vocab_size" in config:
        return {**config, "vocab_size": rows}
    return {**config, "text_config": {**config["text_config"], "vocab_size": rows}}


def setting(config: Mapping[str, Any], name: str) -> Any:
    """A value of a config, or of the text_config that multimodal models have in it."""
    return config.get(name, (config.get("text_config") or {}).get(name))


def stored_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model's weight files."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        for name, tensor in read_header(path).items():
            if name in tensors:
                raise UserError(
                    f"{name} is in {tensors[name].file} and in {path}. Which is the model's cannot be told: download it again."
                )
            tensors[name] = tensor
    if (folder / INDEX).is_file():
        for name, shard in weight_map(folder).items():
            if name not in tensors:
                raise UserError(
                    f"{folder / shard}: {name} is not in this shard, although {INDEX} says so. Download the model again."
                )
    return tensors


def same_weights(first: Source, second: Source) -> bool:
    """Whether two tensors have the same shape and weights; reads up to the first difference."""
    if first.shape != second.shape:
        return False
    return all(np.array_equal(ours, theirs, equal_nan=True) for ours, theirs, _ in parts(first, second))


def parts(first: Source, second: Source, unit: int = 1) -> Iterator[tuple[Array, Array, int]]:
    """Both tensors as fp32, part by part (L,), and where each part begins; whole units of weights."""
    step = max(COMPARED // unit, 1) * unit
    with closing(Files()) as files:
        for start in range(0, first.size, step):
            count = min(step, first.size - start)
            ours, theirs = np.empty(count, np.float32), np.empty(count, np.float32)
            read_fp32(files, first, start, ours)
            read_fp32(files, second, start, theirs)
            yield ours, theirs, start
