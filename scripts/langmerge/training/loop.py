"""The training loop: the same on one CPU, on one GPU and on many nodes."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from langmerge.errors import UserError
from langmerge.training.checkpoints import Checkpoints, begin_leg, cut_history, discarded_if_useless
from langmerge.training.export import export
from langmerge.training.folders import HISTORY, steps_saved
from langmerge.training.history import Divergence, History
from langmerge.training.models import load_model, load_tokenizer
from langmerge.training.packing import IGNORED, Form, Mixture, Sequence, Sequences
from langmerge.training.prepare import Material, prepare
from langmerge.training.ranks import Ranks, connected
from langmerge.training.recipe import number_of_steps
from langmerge.training.schedule import rate
from langmerge.training.sharding import Objective, read_weights, shard
from langmerge.training.stop import Stop

REQUEUED = 60
"""Seconds that a job waits for Slurm to requeue it."""


def train(
    output: Path,
    recipe: dict[str, Any],
    threads: int | None = None,
    key: str | None = None,
    stop: Stop | None = None,
) -> None:
    """Train a model, or go on where an earlier start has stopped.

    A process that is alone exports the model to a Hugging Face folder. Many leave it to `export`.

    Args:
        output: the model's folder, replaced if it exists.
        recipe: what `recipe.complete` returns.
        threads: CPU threads of torch and of the tokenizer; None for their own choice.
        key: identity of the weights, recorded in langmerge.json; None for none.
        stop: notes what tells this process to stop; None where nothing does.

    Raises:
        UserError: a model, tokenizer or corpus cannot be used, the batch cannot be divided, or the
            training diverged.
        SystemExit: it was told to stop, and has saved a checkpoint.
    """
    if threads:
        torch.set_num_threads(threads)
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # the tokenizer's
    with connected(alone_too=recipe["dtype"] != "float32") as ranks:
        if recipe["batch_size"] % ranks.size:
            raise UserError(
                f"`batch_size`: {recipe['batch_size']} sequences cannot be divided among {ranks.size} processes. "
                "Choose a multiple."
            )
        tokenizer = load_tokenizer(recipe)
        model = load_model(recipe, tokenizer, ranks.device)
        material = prepare(output, recipe, key, model, tokenizer, ranks)
        with discarded_if_useless(material.folder):
            Training(computed(model, recipe, material, ranks), recipe, material, ranks, stop or Stop()).run()
        alone = ranks.size == 1
    if alone:
        export(material.folder, output)


def computed(model: PreTrainedModel, recipe: dict[str, Any], material: Material, ranks: Ranks) -> Objective:
    """The model as the recipe wants it computed, spread over the processes, with its first weights
    unless a checkpoint has later ones. Of an adapter, a checkpoint has no weights of its model.
    """
    if recipe["recompute"]:
        model.activation_checkpointing_enable()
    objective = Objective(model)
    dtype = getattr(torch, recipe["dtype"])
    if ranks.size > 1 or dtype != torch.float32:
        shard(objective, ranks.mesh(recipe["shard"]), dtype)
    objective.to(ranks.device)
    lora = recipe.get("lora")
    if "from" in recipe and (not steps_saved(material.folder) if lora is None else "quantize" not in lora):
        read_weights(model, Path(recipe["from"]))
    return objective


class Training:
    """A training on its way.

    Attributes:
        steps: how many it has in all; step: how many are made.
    """

    def __init__(
        self, objective: Objective, recipe: dict[str, Any], material: Material, ranks: Ranks, stop: Stop
    ) -> None:
        self.objective = objective
        self.recipe = recipe
        self.ranks = ranks
        self.stop = stop
        self.folder = material.folder
        self.steps = number_of_steps(recipe)
        form = Form(recipe["sequence_length"], recipe["documents"] == "separate", material.padding)
        corpora = [Sequences(corpus, form) for corpus in material.corpora]
        shares = list(recipe["data"].values())
        self.mixture = Mixture(corpora, shares, self.steps * recipe["batch_size"], recipe["seed"])
        self.held_out = {code: (Sequences(corpus, form), corpus.meta["bytes"]) for code, corpus in material.held_out}
        self.share = recipe["batch_size"] // ranks.size
        self.at_once = min(recipe.get("micro_batch", self.share), self.share)
        self.parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        # No decay of biases and of norms' scales.
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": recipe["weight_decay"]},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = optimizer([group for group in groups if group["params"]], recipe)
        self.checkpoints = Checkpoints(self.folder, objective, self.optimizer, ranks)
        self.step = self.saved = self.checkpoints.load()
        self.saved_at = time.monotonic()

    def run(self) -> None:
        """Make the steps that are left, and save the last one.

        Raises:
            UserError: the training diverged.
            SystemExit: it was told to stop.
        """
        history = None
        if self.ranks.first and self.step < self.steps:
            leg = begin_leg(self.folder, self.step)
            cut_history(self.folder / HISTORY, self.step)
            tokens = self.share * self.recipe["sequence_length"]
            history = History(self.folder / HISTORY, self.steps, leg, tokens)
        divergence = Divergence(self.objective.model.config.get_text_config().vocab_size)
        if self.step == 0:
            self.evaluate(history)
        while self.step < self.steps:
            first = self.step * self.recipe["batch_size"] + self.ranks.rank * self.share
            rows = [self.mixture[index] for index in range(first, first + self.share)]
            count = self.agree(sum(int((row.labels[1:] != IGNORED).sum()) for row in rows))
            now = rate(self.step, self.steps, self.recipe)
            loss, norm = self.gradient(rows, count)
            divergence.check(self.step + 1, loss, norm)
            self.update(now)
            self.step += 1
            if history:
                history.step(self.step, loss, now, norm, memory(self.ranks.device))
            if self.step % self.recipe["evaluate_every"] == 0 or self.step == self.steps:
                self.evaluate(history)
        self.save()

    def agree(self, labels: int) -> float:
        """Before a step, the labels of all processes. If one of them was told to stop, all save and
        end here; if the time for a checkpoint has come, all save.

        Raises:
            SystemExit: one of them was told to stop.
        """
        due = self.ranks.first and time.monotonic() - self.saved_at > 60 * self.recipe["save_minutes"]
        warned, ended = (self.stop.signal == number for number in (signal.SIGUSR1, signal.SIGTERM))
        labels, due, warned, ended = self.ranks.summed(labels, due, warned, ended)
        if due or warned or ended:
            self.save()
        if ended:
            self.ranks.barrier()
            sys.exit(143)
        if warned:
            self.requeue()
        return labels

    def gradient(self, rows: list[Sequence], labels: float) -> tuple[float, float]:
        """Compute the gradient of a step's mean loss over all processes; return that loss and the
        gradient's norm.

        Args:
            rows: this process's sequences.
            labels: how many tokens with loss the sequences of all processes have.
        """
        total = torch.zeros((), device=self.ranks.device)
        for start in range(0, len(rows), self.at_once):
            if isinstance(self.objective, FSDPModule):
                # Copies of the weights sum their gradients once per step, after the last sequences.
                self.objective.set_requires_all_reduce(start + self.at_once >= len(rows))
            loss = self.objective(*self.batch(rows[start : start + self.at_once]))
            # The processes' gradients are averaged; their losses are to be summed.
            (loss * (self.ranks.size / max(labels, 1))).backward()
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe["max_grad_norm"])
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        return self.ranks.summed(total.item())[0] / max(labels, 1), norm.item()

    def batch(self, rows: list[Sequence]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Tokens, labels and positions, each int64 of shape [sequences, length]."""
        tokens, labels, positions = (
            torch.stack([torch.from_numpy(row[part]) for row in rows]).to(self.ranks.device) for part in range(3)
        )
        return tokens, labels, positions if self.recipe["documents"] == "separate" else None

    def update(self, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def evaluate(self, history: History | None) -> None:
        """Note the held-out text's bits per byte, by language."""
        found = {}
        self.objective.eval()
        for code, (sequences, size) in self.held_out.items():
            total = 0.0
            # As many passes in each process: those of the last round that are too many count
            # nothing.
            for start in range(0, len(sequences), self.ranks.size):
                index = start + self.ranks.rank
                loss = self.objective(*self.batch([sequences[index % len(sequences)]])).item()
                total += loss if index < len(sequences) else 0.0
            found[code] = self.ranks.summed(total)[0] / math.log(2) / size
        self.objective.train()
        if history and found:
            history.note(step=self.step, bits_per_byte=found)

    def save(self) -> None:
        """Write a checkpoint, unless this step has one."""
        if self.step > self.saved:
            self.checkpoints.save(self.step)
            self.saved = self.step
        self.saved_at = time.monotonic()

    def requeue(self) -> NoReturn:
        """Ask Slurm to run this job again, and wait until it ends this one.

        Raises:
            SystemExit: it does not, because the site forbids it: the next submission goes on.
        """
        if self.ranks.first and (job := os.environ.get("SLURM_JOB_ID")):
            answer = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
            if answer.returncode == 0:
                time.sleep(REQUEUED)
            print(f"the job was not requeued: {answer.stderr.strip()}", file=sys.stderr)
        self.ranks.barrier()
        sys.exit(f"error: stopped after step {self.step} of {self.steps} before the time limit; start again to go on")


def optimizer(groups: list[dict[str, Any]], recipe: dict[str, Any]) -> torch.optim.Optimizer:
    """AdamW, as the recipe has it, of groups of parameters."""
    settings = {"lr": recipe["learning_rate"], "betas": tuple(recipe["adam_betas"])}
    if "optimizer" in recipe:
        from langmerge.training.adamw8bit import AdamW8bit

        return AdamW8bit(groups, **settings)
    return torch.optim.AdamW(groups, **settings, fused=True)


def memory(device: torch.device) -> float:
    """GB: the most that this process has held, of the GPU's memory or of the host's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
