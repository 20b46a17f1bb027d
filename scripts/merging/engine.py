"""A merge from beginning to end: check everything, then stream the tensors through the method into a new checkpoint."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common import UserError, new_directory, write_json
from merging.card import PROVENANCE, model_card, provenance, recipe_yaml
from merging.checkpoint import DTYPES, open_checkpoint
from merging.compatibility import tensors_to_merge
from merging.digests import sha256
from merging.recipe import Recipe
from merging.shards import Output, Shard, Slot, outputs, split, total_size
from merging.stream import Job, NotFinite, Stream
from merging.survey import Place
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

LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
"""Where a tensor's name has the number of its layer."""


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
        self.main = opened[recipe.tokenizer_source]
        if not any((self.main.folder / name).is_file() for name in TOKENIZER_FILES[:3]):
            raise UserError(f"{self.main.folder}, the tokenizer_source, holds no tokenizer. Name the model that has one, or copy it there.")
        slots = {name: self.slot(name) for name in tensors_to_merge(self.checkpoints, self.main)}
        self.shards: list[Shard] = split(slots, max_shard_size)
        self.places = locate({name: slot.shape for shard in self.shards for name, slot in shard.items()})
        self.arguments = {name: recipe.method.split(recipe.arguments.at(place)) for name, place in self.places.items()}

    def slot(self, name: str) -> Slot:
        tensor = self.main.tensors[name]
        return Slot(NUMPY[self.recipe.dtype] if self.recipe.dtype else tensor.dtype, tensor.shape)

    def write(self, output: Path, threads: int, page_cache: bool) -> None:
        """Write the checkpoint's folder, whole or not at all.

        Raises:
            UserError: the disk is too small, the folder is not for us to replace, or a merged weight is not finite.
        """
        self.check_output(output)
        self.check_space(output)
        with new_directory(output) as folder, ThreadPoolExecutor(1) as beside:
            self.write_texts(folder)
            files = sorted({path for checkpoint in self.checkpoints for path in checkpoint.files})
            hashes = [beside.submit(sha256, path) for path in files]
            try:
                self.write_weights(folder, threads, page_cache)
            except BaseException:
                beside.shutdown(wait=False, cancel_futures=True)
                raise
            digests = {path: future.result() for path, future in zip(files, hashes, strict=True)}
            write_json(folder / PROVENANCE, provenance(self.recipe, self.seed, self.checkpoints, digests))

    def write_weights(self, folder: Path, threads: int, page_cache: bool) -> None:
        notes: set[str] = set()
        weights = sum(prod(slot.shape) for shard in self.shards for slot in shard.values())
        with (
            outputs(folder, self.shards, page_cache, notes) as places,
            tqdm(total=weights, desc=self.recipe.method.name, unit="weight", unit_scale=True, disable=None) as progress,
        ):
            jobs = [self.job(name, slot, *places[name]) for shard in self.shards for name, slot in shard.items()]
            if self.recipe.method.survey and self.recipe.method.survey.whole_model:
                jobs = [replace(job, survey=jobs[0].survey) for job in jobs]
            try:
                Stream(threads).merge(jobs, progress.update)
            except NotFinite as found:
                raise not_finite(found) from None
        for note in sorted(notes):
            print(f"note: the file system of {folder.parent} {note}.", file=sys.stderr)

    def job(self, name: str, slot: Slot, file: Output, offset: int) -> Job:
        survey, equation = self.arguments[name]
        method, place = self.recipe.method, self.places[name]
        return Job(
            place=place,
            sources=tuple(checkpoint.tensors[name] for checkpoint in self.checkpoints),
            has_base=method.needs_base,
            survey=method.survey(place, partial(uniform, self.seed, name), **survey) if method.survey else None,
            equation=partial(method, arguments=equation),
            write=lambda data, start: file.write(data, offset + start),
            dtype=slot.dtype,
        )

    def write_texts(self, folder: Path) -> None:
        """Write all but the weights and where they come from."""
        for name in TOKENIZER_FILES:
            if (self.main.folder / name).is_file():
                shutil.copyfile(self.main.folder / name, folder / name)
        (folder / "config.json").write_text(json.dumps(self.config(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(model_card(self.recipe), encoding="utf-8")
        (folder / "mergekit_config.yml").write_text(recipe_yaml(self.recipe), encoding="utf-8")

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


def locate(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Place]:
    """Where in the model each tensor is."""
    layers = {name: int(match[1]) for name in shapes if (match := LAYER.search(name))}
    count = max(layers.values(), default=-1) + 1
    return {name: Place(name, shape, layers.get(name), count) for name, shape in shapes.items()}


def not_finite(found: NotFinite) -> UserError:
    """Say whose fault it is that a weight is not finite."""
    if found.source:
        return UserError(
            f"{found.source.file}: {found.job.place.name} holds NaN or infinite weights. That model is broken: download or train it again."
        )
    return UserError(
        f"{found.job.place.name}: a merged weight is too large for {found.job.dtype}. Set out_dtype to float32 or bfloat16, or lower the weights."
    )
