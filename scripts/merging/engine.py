"""A merge from beginning to end: check everything, then stream the tensors through the method into a new checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common import UserError, new_directory, write_json
from merging.card import PROVENANCE, model_card, provenance, recipe_yaml, sha256
from merging.checkpoint import DTYPES, open_checkpoint
from merging.compatibility import tensors_to_merge
from merging.recipe import Recipe
from merging.shards import Shard, Slot, split, total_size, write_shards
from merging.uniform import uniform

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
"""What is copied from tokenizer_source, as far as it is there; config.json is copied with its type changed."""

ROOM_FOR_TEXTS = 2**20
"""Bytes kept free for the small files that are not counted: config, card, recipe, provenance, and what the file system itself takes."""

NUMPY = {"float32": DTYPES["F32"], "float16": DTYPES["F16"], "bfloat16": DTYPES["BF16"]}


class Merge:
    """The merge of a recipe's models, checked and ready to be written.

    Raises:
        UserError: a model cannot be read, or the models do not fit each other.
    """

    def __init__(self, recipe: Recipe, seed: int, max_shard_size: int) -> None:
        self.recipe = recipe
        self.seed = seed
        opened = {folder: open_checkpoint(folder) for folder in recipe.folders}
        self.checkpoints = list(opened.values())
        self.base = opened.get(recipe.base)
        self.models = [opened[folder] for folder in recipe.models]
        self.main = opened[recipe.tokenizer_source]
        if not any((self.main.folder / name).is_file() for name in TOKENIZER_FILES[:3]):
            raise UserError(f"{self.main.folder}, the tokenizer_source, holds no tokenizer. Name the model that has one, or copy it there.")
        slots = {name: self.slot(name) for name in tensors_to_merge(self.checkpoints, self.main)}
        # The widest types first keeps every tensor aligned in its file.
        slots = dict(sorted(slots.items(), key=lambda item: -item[1].dtype.itemsize))
        self.shards: list[Shard] = split(slots, max_shard_size)

    def slot(self, name: str) -> Slot:
        tensor = self.main.tensors[name]
        return Slot(NUMPY[self.recipe.dtype] if self.recipe.dtype else tensor.dtype, tensor.shape)

    def write(self, output: Path) -> None:
        """Write the checkpoint's folder, whole or not at all.

        Raises:
            UserError: the disk is too small, the folder is not for us to replace, or a merged weight is not finite.
        """
        self.check_output(output)
        self.check_space(output)
        with new_directory(output) as folder:
            self.write_texts(folder)
            slots = {name: slot for shard in self.shards for name, slot in shard.items()}
            with tqdm(total=len(slots), desc=self.recipe.method.name, unit="tensor", disable=None) as progress:

                def compute(name: str) -> np.ndarray:
                    progress.update()
                    return self.tensor(name, slots[name].dtype)

                write_shards(folder, self.shards, compute)

    def tensor(self, name: str, dtype: np.dtype) -> np.ndarray:
        """One merged tensor, rounded to the nearest even value of `dtype`."""
        base = self.base.tensors[name].read() if self.base else None
        models = (checkpoint.tensors[name].read() for checkpoint in self.models)
        with np.errstate(over="ignore", invalid="ignore"):
            merged = self.recipe.method(
                base, models, self.recipe.arguments, lambda model, shape: uniform(self.seed, model, name, shape)
            ).astype(dtype)
        if not np.isfinite(merged).all():
            raise self.not_finite(name, dtype)
        return merged

    def not_finite(self, name: str, dtype: np.dtype) -> UserError:
        """Say whose fault it is that a merged weight is not finite."""
        for checkpoint in self.checkpoints:
            tensor = checkpoint.tensors[name]
            if not np.isfinite(tensor.read()).all():
                return UserError(f"{tensor.file}: {name} holds NaN or infinite weights. That model is broken: download or train it again.")
        return UserError(f"{name}: a merged weight is too large for {dtype}. Set out_dtype to float32 or bfloat16, or lower the weights.")

    def write_texts(self, folder: Path) -> None:
        """Write all but the weights."""
        for name in TOKENIZER_FILES:
            if (self.main.folder / name).is_file():
                shutil.copyfile(self.main.folder / name, folder / name)
        (folder / "config.json").write_text(json.dumps(self.config(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(model_card(self.recipe), encoding="utf-8")
        (folder / "mergekit_config.yml").write_text(recipe_yaml(self.recipe), encoding="utf-8")
        files = [path for checkpoint in self.checkpoints for path in checkpoint.files]
        hashes = {path: sha256(path) for path in tqdm(files, desc="sha256 of the sources", unit="file", disable=None)}
        write_json(folder / PROVENANCE, provenance(self.recipe, self.seed, self.checkpoints, hashes))

    def config(self) -> Mapping[str, Any]:
        """The config.json of tokenizer_source, with the type that is written. transformers 4 calls it torch_dtype, 5 dtype."""
        if not self.recipe.dtype:
            return self.main.config
        keys = [key for key in ("dtype", "torch_dtype") if key in self.main.config] or ["torch_dtype"]
        return {**self.main.config, **dict.fromkeys(keys, self.recipe.dtype)}

    def check_output(self, output: Path) -> None:
        """Refuse to replace a folder that is a source, holds one, or was not made by langmerge."""
        for checkpoint in self.checkpoints:
            if checkpoint.folder.resolve().is_relative_to(output.resolve()):
                raise UserError(f"{output} holds {checkpoint.folder}, a model of the recipe. Choose another output folder.")
        if output.is_dir() and any(output.iterdir()) and not (output / PROVENANCE).is_file():
            raise UserError(
                f"{output} is there and was not made by langmerge (it has no {PROVENANCE}). Choose another folder, or remove it."
            )

    def check_space(self, output: Path) -> None:
        existing = next(folder for folder in output.absolute().parents if folder.is_dir())
        tokenizer = [self.main.folder / name for name in TOKENIZER_FILES if (self.main.folder / name).is_file()]
        needed = total_size(self.shards) + sum(path.stat().st_size for path in tokenizer) + ROOM_FOR_TEXTS
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise UserError(f"{existing}: the merged model needs {needed} bytes, {free} are free. Free some, or choose another disk.")
