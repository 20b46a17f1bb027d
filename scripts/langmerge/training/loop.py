"""Run a recipe with transformers' Trainer, on one CPU or on many GPUs."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils.logging import disable_progress_bar

from langmerge import VERSION
from langmerge.errors import UserError
from langmerge.files import new_directory, sha256, write_json
from langmerge.training.data import Mixture, write_sequences
from langmerge.training.models import load_model, load_tokenizer, save_model

LOSSES = 100
"""Values of the loss that metrics.json gets from a whole training."""

PROGRESS_LINES = 10
"""Lines of progress of a whole training, where stderr is a log file."""

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
"""transformers' names of the schedules. Its own `constant` has no warm-up."""

TIMEOUT = 24 * 3600
"""Seconds that the other processes wait for the first one, which tokenises the corpora."""


def train(output: Path, recipe: dict[str, Any], threads: int | None = None, key: str | None = None) -> None:
    """Train a model and write a Hugging Face folder with metrics.json and langmerge.json.

    Args:
        output: the folder, replaced if it exists.
        recipe: what `recipe.complete` returns.
        threads: CPU threads of torch and of the tokenizer; None for their own choice.
        key: identity of the weights, recorded in langmerge.json; None for none.

    Raises:
        UserError: a model, tokenizer or corpus cannot be used, the batch cannot be divided, or the
            training diverged.
    """
    if threads:
        torch.set_num_threads(threads)
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # the tokenizer's
    arguments = training_arguments(recipe)
    tokenizer = load_tokenizer(recipe)
    model = load_model(recipe, tokenizer)
    with shared_directory(output) as folder:
        scratch = folder / "scratch"
        files = [scratch / str(index) for index in range(len(recipe["data"]))]
        record: dict[str, Any] = {}
        if arguments.process_index == 0:
            scratch.mkdir()
            record = provenance(recipe, key)
            for file, corpus in zip(files, recipe["data"], strict=True):
                write_sequences(file, Path(corpus), tokenizer, recipe["sequence_length"])
        checkpoints = broadcast(checkpoint_folder(output, record) if "save_every" in recipe else scratch)
        arguments.output_dir = str(checkpoints)
        sequences = Mixture(
            files,
            list(recipe["data"].values()),
            recipe["sequence_length"],
            recipe["steps"] * recipe["batch_size"],
            recipe["seed"],
        )
        trainer = Trainer(model, arguments, train_dataset=sequences, callbacks=[StopIfDiverged()])
        if arguments.disable_tqdm:
            disable_progress_bar()
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(Progress(recipe["batch_size"] * recipe["sequence_length"]))
        outcome = trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
        check_finite(outcome.training_loss, outcome.global_step)
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        if arguments.process_index == 0:
            save_model(
                folder,
                trainer.accelerator.unwrap_model(trainer.model_wrapped),
                weights,
                recipe["save_dtype"],
                tokenizer,
            )
            write_json(folder / "metrics.json", {"history": history(trainer.state.log_history)})
            write_json(folder / "langmerge.json", record)
            shutil.rmtree(scratch)
    if arguments.process_index == 0:
        shutil.rmtree(checkpoints, ignore_errors=True)


def training_arguments(recipe: dict[str, Any]) -> TrainingArguments:
    """The recipe as arguments of the Trainer.

    If there are several processes, this starts the communication between them.
    """
    parts = recipe["gradient_accumulation"] * int(os.environ.get("WORLD_SIZE", "1"))
    if recipe["batch_size"] % parts:
        raise UserError(
            f"`batch_size`: {recipe['batch_size']} sequences cannot be divided by gradient_accumulation x number of "
            f"processes = {parts}. Choose a multiple."
        )
    arguments = TrainingArguments(
        output_dir="",
        max_steps=recipe["steps"],
        per_device_train_batch_size=recipe["batch_size"] // parts,
        gradient_accumulation_steps=recipe["gradient_accumulation"],
        learning_rate=recipe["learning_rate"],
        warmup_steps=math.ceil(recipe["warmup_ratio"] * recipe["steps"]),
        lr_scheduler_type=SCHEDULES[recipe["schedule"]],
        weight_decay=recipe["weight_decay"],
        adam_beta1=recipe["adam_betas"][0],
        adam_beta2=recipe["adam_betas"][1],
        max_grad_norm=recipe["max_grad_norm"],
        seed=recipe["seed"],
        bf16=recipe["dtype"] == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        save_strategy="steps" if "save_every" in recipe else "no",
        save_steps=recipe.get("save_every", 0),
        save_total_limit=1,
        logging_steps=max(1, recipe["steps"] // LOSSES),
        logging_nan_inf_filter=False,
        train_sampling_strategy="sequential",  # Mixture has its own order
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        ddp_timeout=TIMEOUT,
    )
    if arguments.n_gpu > 1:
        raise UserError(
            f"{arguments.n_gpu} GPUs are visible to one process. Start with torchrun or accelerate launch, "
            "or choose one GPU with CUDA_VISIBLE_DEVICES."
        )
    return arguments


@contextmanager
def shared_directory(output: Path) -> Iterator[Path]:
    """`new_directory`, made by the first process; every process gets its path."""
    if PartialState().is_main_process:
        with new_directory(output) as folder:
            yield broadcast(folder)
    else:
        yield broadcast(None)


def broadcast(value: Any) -> Any:
    """Return the first process's value in every process, which waits for it."""
    return broadcast_object_list([value])[0]


def provenance(recipe: dict[str, Any], key: str | None) -> dict[str, Any]:
    """The content of langmerge.json: version, command, recipe, seed, each source's sha256, key."""
    sources = [Path(path) for path in recipe["data"]]
    if "from" in recipe:
        sources += sorted(Path(recipe["from"]).glob("*.safetensors"))
    sources += sorted(Path(recipe.get("from") or recipe["tokenizer"]).glob("tokenizer.json"))
    return {
        "version": VERSION,
        "command": "train",
        "recipe": recipe,
        "seed": recipe["seed"],
        "sources": {str(path): {"sha256": sha256(path)} for path in sources},
        **({} if key is None else {"key": key}),
    }


def checkpoint_folder(output: Path, record: dict[str, Any]) -> Path:
    """The folder of a training's checkpoints. Its name depends on the recipe and the sources."""
    key = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:12]
    return output.with_name(f".{output.name}.checkpoints-{key}")


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint. The Trainer writes trainer_state.json as its last file."""
    complete = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2]))) if complete else None


def history(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The losses of the Trainer's log, without its times: equal trainings give equal files."""
    return [
        {key: entry[key] for key in ("step", "loss", "learning_rate", "grad_norm")} for entry in log if "loss" in entry
    ]


def check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"the training diverged: the loss is {loss} at step {step}. Lower `learning_rate` or raise `warmup_ratio`."
        )


class StopIfDiverged(TrainerCallback):
    """Stop at the first logged loss that is NaN or infinite."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        check_finite((logs or {}).get("loss", 0.0), state.global_step)


class Progress(TrainerCallback):
    """Lines of progress on stderr in place of a bar: the loss, tokens per second, the time left."""

    def __init__(self, tokens: int) -> None:
        """`tokens`: of one step."""
        self.tokens = tokens

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began, self.first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        every = max(1, state.max_steps // PROGRESS_LINES // args.logging_steps) * args.logging_steps
        if state.is_world_process_zero and "loss" in (logs or {}) and state.global_step % every == 0:
            pace = (time.monotonic() - self.began) / max(1, state.global_step - self.first)
            left = pace * (state.max_steps - state.global_step)
            print(
                f"step {state.global_step} of {state.max_steps}, loss {logs['loss']:.3f}, {self.tokens / pace:,.0f} tokens/s, "
                f"{left / 60:.1f} min left",
                file=sys.stderr,
                flush=True,
            )
