"""From a finished training's checkpoint to a folder in Hugging Face's or PEFT's format; needs no
GPU.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.initialization import no_init_weights
from transformers.utils.logging import disable_progress_bar

from langmerge.errors import UserError
from langmerge.files import new_directory, write_json
from langmerge.training.checkpoints import read_model, read_trained
from langmerge.training.folders import HISTORY, MODEL, RECORD, steps_saved
from langmerge.training.models import save_model
from langmerge.training.recipe import number_of_steps


def export(training: Path, output: Path) -> None:
    """Write a training's model, with its record and history, and remove the training's folder.

    Args:
        training: the folder of the training; output: replaced if it exists.

    Raises:
        UserError: the training has not made all its steps, or its weights are no finite numbers.
    """
    record = json.loads((training / RECORD).read_text(encoding="utf-8"))
    recipe = record["recipe"]
    saved, steps = steps_saved(training), number_of_steps(recipe)
    if steps not in saved:
        last = max(saved, default=0)
        raise UserError(
            f"{training}: its last checkpoint has {last} of {steps} steps. Start the training again: it goes on."
        )
    disable_progress_bar()
    with new_directory(output) as folder:
        if "lora" in recipe:
            from langmerge.training.adapters import write_adapter

            write_adapter(folder, recipe, read_trained(saved[steps], getattr(torch, recipe["save_dtype"])))
        else:
            write_model(folder, training / MODEL, saved[steps], recipe["save_dtype"])
        shutil.copyfile(training / HISTORY, folder / HISTORY)
        write_json(folder / "langmerge.json", record)
    shutil.rmtree(training)


def write_model(folder: Path, described: Path, checkpoint: Path, dtype: str) -> None:
    """Write a whole model, with its tokenizer.

    Args:
        described: the folder of its configuration, generation settings and tokenizer.
        dtype: torch's name of the type of the weights.
    """
    with no_init_weights():
        config = AutoConfig.from_pretrained(described, local_files_only=True)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.tie_weights()
    model.generation_config = GenerationConfig.from_pretrained(described, local_files_only=True)
    weights = read_model(checkpoint, dict(model.named_parameters()), getattr(torch, dtype))
    save_model(folder, model, weights, dtype)
    AutoTokenizer.from_pretrained(described, local_files_only=True).save_pretrained(folder)
