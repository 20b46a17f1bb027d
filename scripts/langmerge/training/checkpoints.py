"""A training's folder: what resumes it, what is known of it, and what is exported from it.

record.json   the recipe and the hashes of what the training reads
model/        configuration, generation settings and tokenizer of the model
data/         corpora that were tokenised for this training
step-N/       a checkpoint after N steps (torch.distributed.checkpoint); the last two are kept
history.jsonl a line per step; legs.jsonl: one per start
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict

from langmerge.errors import UserError
from langmerge.training.folders import steps_saved
from langmerge.training.ranks import Ranks
from langmerge.training.sharding import Objective

KEPT = 2

FRUITLESS = 3
"""Starts of one job of Slurm at the same step, after which it is not to be requeued again."""

PREFIX = "model."
"""What `Objective` puts before a model's names."""


@contextmanager
def discarded_if_useless(folder: Path) -> Iterator[None]:
    """Remove a training's folder if the user's mistake ends it before the first checkpoint."""
    try:
        yield
    except UserError:
        if not steps_saved(folder):
            shutil.rmtree(folder, ignore_errors=True)
        raise


@dataclass
class Checkpoints:
    """The checkpoints of a training that goes on."""

    folder: Path
    objective: Objective
    optimizer: torch.optim.Optimizer
    ranks: Ranks

    def state(self) -> dict[str, Any]:
        """The weights and the optimiser's tensors themselves, not copies."""
        model, optimizer = get_state_dict(self.objective, self.optimizer)
        return {"model": model, "optimizer": optimizer}

    def load(self) -> int:
        """Continue from the newest checkpoint, whatever the number of processes that wrote it, and
        return its step; 0 without any.
        """
        saved = steps_saved(self.folder)
        if not saved:
            return 0
        step, path = [*saved.items()][-1]
        with in_one_process_without_warning():
            dcp.load(self.state(), checkpoint_id=path, no_dist=self.ranks.size == 1)
        return step

    def save(self, step: int) -> None:
        """Write a checkpoint beside its place, rename it when it is complete, and remove those
        before the last two.
        """
        partial, final = self.folder / f"step-{step}.partial", self.folder / f"step-{step}"
        if self.ranks.first:
            for stale in self.folder.glob("step-*.partial"):
                shutil.rmtree(stale)
        self.ranks.barrier()
        with in_one_process_without_warning():
            dcp.save(self.state(), checkpoint_id=partial, no_dist=self.ranks.size == 1)
        self.ranks.barrier()
        if self.ranks.first:
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            flush_folder(self.folder)
            for path in [*steps_saved(self.folder).values()][:-KEPT]:
                shutil.rmtree(path)
        self.ranks.barrier()


@contextmanager
def in_one_process_without_warning() -> Iterator[None]:
    """Keep torch from warning of what is meant: to read and write where nothing is distributed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def flush_folder(folder: Path) -> None:
    """Make a renaming in a folder outlive the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_model(checkpoint: Path, names: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint in one type, read one after another.

    Args:
        names: tensors of the shapes that the model has, by its names.
    """
    weights: dict[str, torch.Tensor] = {}
    for name, like in names.items():
        tensor = torch.empty(like.shape, dtype=torch.float32)
        with in_one_process_without_warning():
            dcp.load({"model": {PREFIX + name: tensor}}, checkpoint_id=checkpoint, no_dist=True)
        weights[name] = tensor.to(dtype)
    return weights


def read_trained(checkpoint: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All that a checkpoint has of a model, as `read_model` reads it."""
    start = f"model.{PREFIX}"
    stored = dcp.FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    names = {name.removeprefix(start): each.size for name, each in stored.items() if name.startswith(start)}
    return read_model(checkpoint, {name: torch.empty(size, device="meta") for name, size in names.items()}, dtype)


def begin_leg(folder: Path, step: int) -> int:
    """Note that the training starts at a step, and return how many times it has started.

    Raises:
        UserError: Slurm has requeued the job several times, and no step was made between.
    """
    file = folder / "legs.jsonl"
    before = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    leg = {"step": step, "job": os.environ.get("SLURM_JOB_ID")}
    if leg["job"] and before[-FRUITLESS:] == [leg] * FRUITLESS:
        raise UserError(
            f"job {leg['job']} was requeued {FRUITLESS} times at step {step} and has made none. Give the training more time "
            "(`runtime`), or look into its log; then start it again."
        )
    with file.open("a") as lines:
        lines.write(json.dumps(leg) + "\n")
    return len(before) + 1


STEP = re.compile(rb'"step": (\d+)')


def cut_history(file: Path, step: int) -> None:
    """Remove what an earlier start has noted after this step, from which the training goes on."""
    if not file.is_file():
        return
    with file.open("r+b") as lines:
        end = 0
        for line in lines:
            found = STEP.search(line)
            if not line.endswith(b"\n") or found is None or int(found[1]) > step:
                break
            end += len(line)
        lines.truncate(end)
