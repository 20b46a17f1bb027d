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

import numpy as np
from tqdm import tqdm

from langmerge.errors import UserError
from langmerge.files import new_directory, sha256, write_json
from langmerge.merging.anatomy import Anatomy, write_anatomy
from langmerge.merging.card import PROVENANCE, model_card, provenance, recipe_yaml
from langmerge.merging.checkpoint import DTYPES, Checkpoint, open_checkpoint
from langmerge.merging.compatibility import has_token_rows, special_rows, tensors_to_merge
from langmerge.merging.expressions import Copy
from langmerge.merging.jobs import Job, NotFinite, UnmergedRows
from langmerge.merging.passes.base import Preparation
from langmerge.merging.recipe import WHOLE, Recipe
from langmerge.merging.shards import Output, Shard, Slot, outputs, split, total_size
from langmerge.merging.stream import Stream
from langmerge.merging.tensors import TensorInfo
from langmerge.merging.uniform import uniform

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
            raise UserError(
                f"{self.main.folder}, the tokenizer_source, holds no tokenizer. Name the model that has one, or copy it there."
            )
        shapes = tensors_to_merge(self.checkpoints, self.main, recipe.common_rows)
        self.tensors = tensor_infos(shapes)
        self.check_slices()
        arguments = {name: recipe.method.split(recipe.arguments(tensor)) for name, tensor in self.tensors.items()}
        self.equations = {name: partial(recipe.method, arguments=equation) for name, (_, equation) in arguments.items()}
        # Made before anything is written, because a preparation may refuse the model, too.
        self.preparations = {name: self.prepare(tensor, arguments[name][0]) for name, tensor in self.tensors.items()}
        self.unmerged = self.special_tokens(opened[recipe.special_tokens]) if recipe.special_tokens else {}
        self.shards: list[Shard] = split({name: self.slot(name) for name in shapes}, max_shard_size)

    def prepare(self, tensor: TensorInfo, arguments: Mapping[str, Any]) -> Preparation | None:
        """The method's preparation for a tensor."""
        make = self.recipe.method.preparation
        return make(tensor, partial(uniform, self.seed, tensor.name), **arguments) if make else None

    def check_slices(self) -> None:
        """Refuse slices that end before the models do, or after."""
        last = self.recipe.sections[-1]
        layers = max((tensor.layers for tensor in self.tensors.values()), default=0)
        if last.end not in (None, layers):
            raise UserError(
                f"{last.name}.sources[0]: layer_range is [{last.first}, {last.end}], expected [{last.first}, {layers}]: {self.main.folder} has "
                f"{layers} layers. {WHOLE}"
            )

    def special_tokens(self, source: Checkpoint) -> dict[str, UnmergedRows]:
        """For the embeddings and the head, the rows that `source` gives."""
        rows = special_rows(self.main, source)
        names = [
            name for name, tensor in self.tensors.items() if tensor.layer is None and has_token_rows(name, self.main)
        ]
        if not names:
            raise UserError(
                f"{self.main.folder} has no embeddings with as many rows as vocab_size in its config.json says, of which special_tokens "
                "could take some. Mend vocab_size, or leave special_tokens out."
            )
        common = min(self.tensors[name].shape[0] for name in names)
        if rows[-1] >= common and source is not self.main:
            raise UserError(
                f"special_tokens: the special token with the id {rows[-1]} is not among the {common} rows that all models have, and all "
                f"others are taken from tokenizer_source. Name {self.main.folder} as special_tokens, too."
            )
        return {
            name: UnmergedRows(self.checkpoints.index(source), np.array([row for row in rows if row < common]))
            for name in names
        }

    def slot(self, name: str) -> Slot:
        tensor = self.main.tensors[name]
        return Slot(NUMPY[self.recipe.dtype] if self.recipe.dtype else tensor.dtype, tensor.shape)

    def write(
        self,
        output: Path,
        threads: int,
        page_cache: bool,
        anatomy: Path | None = None,
        anatomy_base: Path | None = None,
    ) -> None:
        """Write the checkpoint's folder, whole or not at all; and into the file `anatomy` what anatomy.py finds on the way.

        Args:
            anatomy_base: the model that task vectors are taken from there, if the method takes none or another.

        Raises:
            UserError: the disk is too small, the folder is not for us to replace, or a merged weight is not finite.
        """
        self.check_output(output)
        self.check_space(output)
        anatomies = self.anatomies(anatomy_base or self.recipe.base) if anatomy else {}
        with new_directory(output) as folder, ThreadPoolExecutor(1) as beside:
            self.write_texts(folder)
            files = sorted({path for checkpoint in self.checkpoints for path in checkpoint.files})
            hashes = [beside.submit(sha256, path) for path in files]
            try:
                self.write_weights(folder, threads, page_cache, anatomies)
            except BaseException:
                beside.shutdown(wait=False, cancel_futures=True)
                raise
            digests = {path: future.result() for path, future in zip(files, hashes, strict=True)}
            written = provenance(self.recipe, self.seed, self.checkpoints, digests)
            write_json(folder / PROVENANCE, written)
            if anatomy:
                write_anatomy(anatomy, list(anatomies.values()), {"langmerge": json.dumps(written)})

    def anatomies(self, base: Path | None) -> dict[str, Anatomy]:
        """What is to look at each tensor while it is merged: nothing where there is no base that task vectors could be taken from."""
        if not base:
            return {}
        models = [str(folder) for folder in self.recipe.models]
        names = models if base == self.recipe.base else [str(folder) for folder in self.recipe.folders]
        other = None if base == self.recipe.base else open_checkpoint(base)
        anatomies = {}
        for name, tensor in self.tensors.items():
            if other and (name not in other.tensors or other.tensors[name].shape != tensor.shape):
                continue
            preparation = self.preparations[name]
            kept = {model: preparation.kept_share(index) if preparation else 1.0 for index, model in enumerate(models)}
            anatomies[name] = Anatomy(
                tensor, names, str(self.recipe.tokenizer_source), other.tensors[name] if other else None, kept
            )
        return anatomies

    def write_weights(self, folder: Path, threads: int, page_cache: bool, anatomies: Mapping[str, Anatomy]) -> None:
        notes: set[str] = set()
        weights = sum(prod(slot.shape) for shard in self.shards for slot in shard.values())
        with (
            outputs(folder, self.shards, page_cache, notes) as files,
            tqdm(total=weights, desc=self.recipe.method.name, unit="weight", unit_scale=True, disable=None) as progress,
        ):
            slots = {name: slot for shard in self.shards for name, slot in shard.items()}
            jobs = [
                job for name, slot in slots.items() for job in self.jobs(name, slot, *files[name], anatomies.get(name))
            ]
            if self.recipe.method.preparation and self.recipe.method.preparation.whole_model:
                shared = jobs[0].preparation
                jobs = [replace(job, preparation=shared) if job.preparation else job for job in jobs]
            try:
                Stream(threads).merge(jobs, progress.update)
            except NotFinite as found:
                raise not_finite(found) from None
        for note in sorted(notes):
            print(f"note: the file system of {folder.parent} {note}.", file=sys.stderr)

    def jobs(self, name: str, slot: Slot, file: Output, offset: int, anatomy: Anatomy | None) -> list[Job]:
        """Those that make a tensor: what all models have of it is merged first; rows that only some have are tokenizer_source's."""
        tensor = self.tensors[name]
        merging = Job(
            tensor=tensor,
            sources=tuple(checkpoint.tensors[name] for checkpoint in self.checkpoints),
            has_base=self.recipe.method.needs_base,
            preparation=self.preparations[name],
            equation=self.equations[name],
            write=lambda data, start: file.write(data, offset + start),
            dtype=slot.dtype,
            anatomy=anatomy,
            unmerged=self.unmerged.get(name),
        )
        if tensor.shape == slot.shape:
            return [merging]
        stored, written = self.main.tensors[name], offset + tensor.size * slot.dtype.itemsize
        copying = Job(
            tensor=replace(tensor, shape=(slot.shape[0] - tensor.shape[0], *slot.shape[1:])),
            sources=(replace(stored, offset=stored.offset + tensor.size * stored.dtype.itemsize),),
            has_base=False,
            preparation=None,
            equation=lambda base, models, prepared: Copy(models[0]),
            write=lambda data, start: file.write(data, written + start),
            dtype=slot.dtype,
        )
        return [merging, copying]

    def write_texts(self, folder: Path) -> None:
        """Write all but the weights and where they come from."""
        for name in TOKENIZER_FILES:
            if (self.main.folder / name).is_file():
                shutil.copyfile(self.main.folder / name, folder / name)
        (folder / "config.json").write_text(
            json.dumps(self.config(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
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
                raise UserError(
                    f"{output} holds {checkpoint.folder}, a model of the recipe. Choose another output folder."
                )
        if output.is_dir() and any(output.iterdir()) and not (output / PROVENANCE).is_file():
            raise UserError(
                f"{output} is there and was not made by langmerge (it has no {PROVENANCE}). Choose another folder, or remove it."
            )

    def check_space(self, output: Path) -> None:
        existing = next(folder for folder in output.absolute().parents if folder.is_dir())
        tokenizer = [self.main.folder / name for name in TOKENIZER_FILES if (self.main.folder / name).is_file()]
        needed = total_size(self.shards) + sum(path.stat().st_size for path in tokenizer) + ROOM_FOR_TEXTS
        usage = shutil.disk_usage(existing)
        # Some file systems do not say how large they are.
        if usage.total and usage.free < needed:
            raise UserError(
                f"{existing}: the merged model needs {needed} bytes, {usage.free} are free. Free some, or choose another disk."
            )


def tensor_infos(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    """Each tensor with its position in the model."""
    layers = {name: int(match[1]) for name in shapes if (match := LAYER.search(name))}
    count = max(layers.values(), default=-1) + 1
    return {name: TensorInfo(name, shape, layers.get(name), count) for name, shape in shapes.items()}


def not_finite(found: NotFinite) -> UserError:
    """Say whose fault it is that a weight is not finite."""
    if found.source:
        return UserError(
            f"{found.source.file}: {found.job.tensor.name} holds NaN or infinite weights. That model is broken: download or train it again."
        )
    return UserError(
        f"{found.job.tensor.name}: a merged weight is too large for {found.job.dtype}. Set out_dtype to float32 or bfloat16, or lower the weights."
    )
