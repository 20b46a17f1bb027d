"""A merge from beginning to end: check everything, then write a new checkpoint."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from langmerge.errors import UserError
from langmerge.files import check_replaceable, new_directory, sha256, write_json
from langmerge.merging.anatomy import Anatomy, write_anatomy
from langmerge.merging.card import PROVENANCE, model_card, provenance, recipe_yaml
from langmerge.merging.checkpoint import DTYPES
from langmerge.merging.companions import CONFIGS, Texts, companions, result_config
from langmerge.merging.compatibility import has_token_rows, plan_merge, special_rows
from langmerge.merging.conversation import with_template
from langmerge.merging.coverage import coverage
from langmerge.merging.jobs import Job, UnmergedRows, copy_job, refusing_not_finite
from langmerge.merging.opened import read_raw
from langmerge.merging.passes.base import Preparation
from langmerge.merging.recipe import Recipe
from langmerge.merging.shards import OutputTensor, Shard, Target, outputs, split, total_size
from langmerge.merging.slices import WHOLE
from langmerge.merging.sources import open_checkpoint
from langmerge.merging.stacking import stack, tensors_at
from langmerge.merging.stream import Stream
from langmerge.merging.tensors import TensorInfo, tensor_infos
from langmerge.merging.uniform import uniform
from langmerge.weights import read_json

MAX_SHARD_SIZE = 5 * 10**9
"""Bytes of a file above which weights are sharded, by default; as in transformers."""

Places = Mapping[str, tuple[Target, int]]
"""Where tensors are stored, and at which offset there in bytes."""

SPACE_FOR_TEXTS = 2**20
"""Bytes for the small files that are not counted (config, card, recipe, provenance) and for the
file system itself."""

NUMPY = {"float32": DTYPES["F32"], "float16": DTYPES["F16"], "bfloat16": DTYPES["BF16"]}


class Merge:
    """The merge of a recipe's models, checked and ready to be written."""

    def __init__(self, recipe: Recipe, seed: int, max_shard_size: int, key: str | None = None) -> None:
        """Open and check everything.

        Args:
            seed: of the random numbers.
            max_shard_size: bytes of a file above which the weights are sharded.
            key: identity of the weights in a grid, recorded in langmerge.json.

        Raises:
            UserError: a model cannot be read, or the models do not fit each other.
        """
        self.recipe, self.seed, self.key = recipe, seed, key
        opened = {folder: open_checkpoint(folder) for folder in recipe.folders}
        models, main = list(opened.values()), opened[recipe.tokenizer_source]
        if recipe.stack:
            models = [main := stack(models, main, recipe)]
        self.plan = plan_merge(models, main, recipe)
        self.checkpoints, self.main = self.plan.checkpoints, self.plan.main
        self.sources = [source for checkpoint in self.checkpoints for source in checkpoint.sources]
        self.configs = {name: read_json(path) for name in CONFIGS if (path := self.main.folder / name).is_file()}
        written = {"tokenizer.json": self.plan.tokenizer} if self.plan.tokenizer else {}
        self.texts = Texts(companions(self.main, self.configs), written, self.plan.config)
        if recipe.template_source:
            self.texts = with_template(self.texts, self.main, opened[recipe.template_source])
        shapes = self.plan.merged
        self.tensors = tensor_infos(shapes)
        self.check_slices()
        arguments = {name: recipe.method.split(recipe.arguments(tensor)) for name, tensor in self.tensors.items()}
        self.equations = {name: partial(recipe.method, arguments=equation) for name, (_, equation) in arguments.items()}
        # Made before anything is written, because a preparation may refuse the model, too.
        self.preparations = {name: self.prepare(tensor, arguments[name][0]) for name, tensor in self.tensors.items()}
        self.unmerged = self.special_tokens(recipe.special_tokens) if recipe.special_tokens else {}
        self.shards: list[Shard] = split(self.output_tensors(), max_shard_size)

    def prepare(self, tensor: TensorInfo, arguments: Mapping[str, Any]) -> Preparation | None:
        """The method's preparation for a tensor."""
        make = self.recipe.method.preparation
        return make(tensor, partial(uniform, self.seed, tensor.name), **arguments) if make else None

    def check_slices(self) -> None:
        """Refuse slices that do not end with the last layer of the models."""
        last = self.recipe.sections[-1]
        layers = max((tensor.layers for tensor in self.tensors.values()), default=0)
        if last.end not in (None, layers):
            raise UserError(
                f"{last.name}.sources[0]: layer_range is [{last.first}, {last.end}], expected [{last.first}, {layers}]: "
                f"{self.main.folder} has {layers} layers. {WHOLE}"
            )

    def special_tokens(self, name: Path) -> dict[str, UnmergedRows]:
        """The rows of special tokens in embeddings and head, which are copied from a model."""
        source = next(checkpoint for checkpoint in self.checkpoints if checkpoint.name == name)
        rows = special_rows(self.main, source)
        names = [
            name for name, tensor in self.tensors.items() if tensor.layer is None and has_token_rows(name, self.main)
        ]
        if not names:
            raise UserError(
                f"{self.main.folder} has no embeddings with as many rows as vocab_size in its config.json says, from which "
                "special_tokens could take some. Fix vocab_size, or leave special_tokens out."
            )
        common = min(self.tensors[name].shape[0] for name in names)
        if rows[-1] >= common and source is not self.main:
            raise UserError(
                f"special_tokens: the special token with the id {rows[-1]} is not among the {common} rows that all models "
                f"have, and all other rows are taken from tokenizer_source. Name {self.main.folder} as special_tokens, too."
            )
        return {
            name: UnmergedRows(self.checkpoints.index(source), np.array([row for row in rows if row < common]))
            for name in names
        }

    def output_tensors(self) -> dict[str, OutputTensor]:
        """The tensors of the result as tokenizer_source stores them, sorted by name: a tensor of it
        may hold several that are merged."""
        tensors = {}
        for name in (*self.plan.merged, *self.plan.copied):
            place, stored = self.plan.place(name), self.main.tensors[name].stored_dtype
            tensors[place.name] = OutputTensor(NUMPY[self.recipe.dtype] if self.recipe.dtype else stored, place.shape)
        for name, tensor in self.plan.buffers.items():
            tensors[self.plan.place(name).name] = OutputTensor(tensor.dtype, tensor.shape)
        return dict(sorted(tensors.items()))

    def write(
        self,
        output: Path,
        threads: int,
        page_cache: bool,
        anatomy: Path | None = None,
        anatomy_base: Path | None = None,
    ) -> None:
        """Write the checkpoint's folder, whole or not at all.

        Args:
            threads: how many cores to use.
            page_cache: write through the page cache (by default past it, where the disk can).
            anatomy: file for statistics of the merge, if wanted (anatomy.py).
            anatomy_base: the model from which task vectors are taken there, if the method has no
                base or another.

        Raises:
            UserError: the disk is too small, the folder was not made by langmerge, or a merged
                weight is not finite.
        """
        self.check_output(output)
        self.check_space(output)
        anatomies = self.anatomies(anatomy_base or self.recipe.base) if anatomy else {}
        with new_directory(output) as folder, self.hashing() as record:
            self.write_texts(folder)
            self.write_weights(folder, threads, page_cache, anatomies)
            write_json(folder / PROVENANCE, record())
            if anatomy:
                write_anatomy(anatomy, list(anatomies.values()), {"langmerge": json.dumps(record())})

    @contextmanager
    def hashing(self) -> Iterator[Callable[[], dict[str, Any]]]:
        """Hash the sources meanwhile; yields a function that waits for it and returns the merge's
        record, the content of langmerge.json.
        """
        files = sorted({path for source in self.sources for path in source.files})
        with ThreadPoolExecutor(1) as hasher:
            hashes = [hasher.submit(sha256, path) for path in files]

            def record() -> dict[str, Any]:
                digests = {path: future.result() for path, future in zip(files, hashes, strict=True)}
                return provenance(self.recipe, self.seed, self.sources, digests, self.coverage(), self.key)

            try:
                yield record
            except BaseException:
                hasher.shutdown(wait=False, cancel_futures=True)
                raise

    def coverage(self) -> list[dict[str, Any]]:
        """What becomes of every weight of each model (coverage.py)."""
        return coverage(self.plan, {name: (rows.source, len(rows.rows)) for name, rows in self.unmerged.items()})

    def anatomies(self, base: Path | None) -> dict[str, Anatomy]:
        """The anatomy of each tensor, by name; none without a base to take task vectors from."""
        if not base:
            return {}
        every = [str(checkpoint.name) for checkpoint in self.checkpoints]
        models = every[1:] if self.recipe.base else every
        names, other = models, None
        if base != self.recipe.base:
            opened = open_checkpoint(base)
            # Of a stack, each layer is compared with the base's that it was trained from.
            names, other = every, tensors_at(opened, self.recipe.stack) if self.recipe.stack else opened.tensors
        anatomies = {}
        for name, tensor in self.tensors.items():
            if other is not None and (name not in other or other[name].shape != tensor.shape):
                continue
            preparation = self.preparations[name]
            kept = {model: preparation.kept_share(index) if preparation else 1.0 for index, model in enumerate(models)}
            anatomies[name] = Anatomy(
                tensor, names, str(self.recipe.tokenizer_source), other[name] if other is not None else None, kept
            )
        return anatomies

    def write_weights(self, folder: Path, threads: int, page_cache: bool, anatomies: Mapping[str, Anatomy]) -> None:
        notes: set[str] = set()
        weights = sum(prod(tensor.shape) for shard in self.shards for tensor in shard.values())
        with (
            outputs(folder, self.shards, page_cache, notes) as files,
            tqdm(total=weights, desc=self.recipe.method.name, unit="weight", unit_scale=True, disable=None) as progress,
        ):
            jobs = [job for own in self.all_jobs(files, anatomies).values() for job in own]
            progress.update(self.copy_buffers(files))
            with refusing_not_finite(), Stream(threads) as stream:
                stream.prepare(jobs)
                stream.merge(jobs, progress.update)
        for note in sorted(notes):
            print(f"note: the file system of {folder.parent} {note}.", file=sys.stderr)

    def all_jobs(self, targets: Places, anatomies: Mapping[str, Anatomy]) -> dict[str, list[Job]]:
        """The jobs for each tensor that is stored, in the order in which a checkpoint has them.

        Args:
            targets: where each goes, and its offset there in bytes.
        """
        parts: dict[str, list[str]] = {}
        for name in (*self.plan.merged, *self.plan.copied):
            parts.setdefault(self.plan.place(name).name, []).append(name)
        jobs = {
            stored: [
                job
                for name in parts.get(stored, ())
                for job in self.jobs(name, output.dtype, *targets[stored], anatomies.get(name))
            ]
            for shard in self.shards
            for stored, output in shard.items()
        }
        if self.recipe.method.preparation and self.recipe.method.preparation.whole_model:
            shared = next(job.preparation for own in jobs.values() for job in own if job.preparation)
            for own in jobs.values():
                own[:] = [replace(job, preparation=shared) if job.preparation else job for job in own]
        return jobs

    def copy_buffers(self, targets: Places) -> int:
        """Write those tensors among some that are taken as they are; return how many values they
        have.
        """
        copied = 0
        for name, tensor in self.plan.buffers.items():
            stored = self.plan.place(name).name
            if stored in targets:
                target, offset = targets[stored]
                target.write(read_raw(tensor), offset)
                copied += tensor.size
        return copied

    def jobs(self, name: str, dtype: np.dtype, target: Target, offset: int, anatomy: Anatomy | None) -> list[Job]:
        """The jobs for a tensor: merge the rows that all have; copy tokenizer_source's others.

        Args:
            dtype: that is written.
            offset: in the target, in bytes, of the stored tensor that it is, or is a part of.
        """
        offset += self.plan.place(name).start * dtype.itemsize
        stored = self.main.tensors[name]
        if name not in self.tensors:
            return [copy_job(TensorInfo(name, stored.shape), stored, dtype, target, offset)]
        tensor = self.tensors[name]
        merging = Job(
            tensor=tensor,
            sources=tuple(checkpoint.tensors[name] for checkpoint in self.checkpoints),
            has_base=self.recipe.base is not None,
            preparation=self.preparations[name],
            equation=self.equations[name],
            write=lambda data, start: target.write(data, offset + start),
            dtype=dtype,
            anatomy=anatomy,
            unmerged=self.unmerged.get(name),
        )
        if tensor.shape == stored.shape:
            return [merging]
        rest = (stored.shape[0] - tensor.shape[0], *stored.shape[1:])
        end = offset + tensor.size * dtype.itemsize
        return [merging, copy_job(replace(tensor, shape=rest), stored.part(tensor.size, rest), dtype, target, end)]

    def write_texts(self, folder: Path) -> None:
        """Write all files but the weights and their provenance."""
        self.texts.write(folder)
        (folder / "config.json").write_text(
            json.dumps(self.config(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (folder / "README.md").write_text(model_card(self.recipe), encoding="utf-8")
        (folder / "mergekit_config.yml").write_text(recipe_yaml(self.recipe), encoding="utf-8")

    def config(self) -> Mapping[str, Any]:
        """The config.json of tokenizer_source with what changes in it."""
        return result_config(self.main.config, self.texts.config, self.recipe.dtype)

    def check_output(self, output: Path) -> None:
        """Refuse to replace a folder that contains a source or was not made by langmerge."""
        for folder in (folder for source in self.sources for folder in source.folders):
            if folder.resolve().is_relative_to(output.resolve()):
                raise UserError(f"{output} holds {folder}, a model of the recipe. Choose another output folder.")
        check_replaceable(output)
        if output.is_dir() and any(output.iterdir()) and not (output / PROVENANCE).is_file():
            raise UserError(
                f"{output} exists and was not made by langmerge (it has no {PROVENANCE}). Choose another folder, or remove it."
            )

    def check_space(self, output: Path) -> None:
        """Refuse a disk without space for the merged model."""
        existing = next(folder for folder in output.absolute().parents if folder.is_dir())
        needed = total_size(self.shards) + self.texts.size + SPACE_FOR_TEXTS
        usage = shutil.disk_usage(existing)
        # Some file systems do not say how large they are.
        if usage.total and usage.free < needed:
            raise UserError(
                f"{existing}: the merged model needs {needed} bytes, {usage.free} are free. Free some space, or choose "
                "another disk."
            )
