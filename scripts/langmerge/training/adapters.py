"""LoRA adapters: small matrices that are trained beside a checkpoint's own, which stay as they are.

Sources: LoRA, arXiv 2106.09685; QLoRA, arXiv 2305.14314. PEFT makes the layers, bitsandbytes the
4-bit weights. Only a recipe with `lora` imports this module: these two take seconds to load.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from langmerge.errors import UserError
from langmerge.files import write_json
from langmerge.training.sharding import OWN
from langmerge.weights import ADAPTER, ADAPTER_CONFIG

PREFIX = "base_model.model."
"""What PEFT puts before the names of an adapter's tensors."""


def lora_config(recipe: dict[str, Any], targets: list[str] | str) -> LoraConfig:
    """PEFT's settings of a recipe's adapter."""
    lora = recipe["lora"]
    return LoraConfig(
        r=lora["rank"],
        lora_alpha=lora.get("alpha", lora["rank"]),
        target_modules=targets,
        task_type="CAUSAL_LM",
        base_model_name_or_path=recipe["from"],
        inference_mode=False,
    )


def add_adapter(model: PreTrainedModel, recipe: dict[str, Any]) -> None:
    """Put an adapter, in float32, beside a model's layers, and freeze all else. Its product is zero
    at first; its numbers depend on the seed alone.

    Raises:
        UserError: the model has no layer of a name in `targets`, or it is one of the embeddings.
    """
    torch.manual_seed(recipe["seed"])
    try:
        inject_adapter_in_model(lora_config(recipe, recipe["lora"].get("targets", "all-linear")), model)
    except ValueError as error:
        raise UserError(f"`lora.targets`: {error}") from error
    if any(isinstance(each, LoraLayer) for each in (model.get_input_embeddings(), model.get_output_embeddings())):
        raise UserError("`lora.targets`: the embeddings and the head cannot have adapters. Leave them out.")
    for name, parameter in model.named_parameters():
        if OWN in name:
            parameter.data = parameter.data.float()


def quantised(folder: Path, dtype: torch.dtype, device: torch.device, attention: str) -> PreTrainedModel:
    """A checkpoint with its layers in NF4, 4.1 bits a weight, on a device; embeddings and head in
    the type of the arithmetic.
    """
    from bitsandbytes.nn import Linear4bit

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        quantization_config=settings,
        dtype=dtype,
        device_map={"": device},
        attn_implementation=attention,
    )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # An evaluation on a CPU would pack the weights in another way, with a loss.
            module.support_avx512bf16_for_cpu = False
    return model.train()


def write_adapter(folder: Path, recipe: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Write an adapter as PEFT does.

    Args:
        weights: of the adapter, by the names of a model's parameters.

    Raises:
        UserError: a weight is NaN or infinite.
    """
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"the training diverged: {name} holds NaN or infinity. Lower `learning_rate`.")
    targets = sorted({name.partition(OWN)[0].rpartition(".")[2] for name in weights})
    lora_config(recipe, targets).save_pretrained(folder)
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    # PEFT keeps them as a set, whose order differs from one process to the next.
    write_json(folder / ADAPTER_CONFIG, {**config, "target_modules": targets})
    named = {PREFIX + name.replace(".default", ""): tensor for name, tensor in weights.items()}
    save_file(named, folder / ADAPTER, metadata={"format": "pt"})
    shutil.copymode(folder / ADAPTER_CONFIG, folder / ADAPTER)
