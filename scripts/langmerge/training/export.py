"""From a finished training's checkpoint to a folder in Hugging Face format; needs no GPU."""

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
from langmerge.training.checkpoints import read_model
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
    with no_init_weights():
        config = AutoConfig.from_pretrained(training / MODEL, local_files_only=True)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.tie_weights()
    model.generation_config = GenerationConfig.from_pretrained(training / MODEL, local_files_only=True)
    weights = read_model(saved[steps], dict(model.named_parameters()), getattr(torch, recipe["save_dtype"]))
    with new_directory(output) as folder:
        save_model(folder, model, weights, recipe["save_dtype"])
        AutoTokenizer.from_pretrained(training / MODEL, local_files_only=True).save_pretrained(folder)
        shutil.copyfile(training / HISTORY, folder / HISTORY)
        write_json(folder / "langmerge.json", record)
    shutil.rmtree(training)
