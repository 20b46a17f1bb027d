"""The model that a training starts from, and the folder that it ends with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights

from langmerge.errors import UserError
from langmerge.weights import weight_files

ATTENTION = "sdpa" if torch.cuda.is_available() else "eager"
"""On a CPU, eager attention trains 20 % faster in bfloat16 on short sequences than the fused one.

Measured with 4 layers of width 192 and batches of 32 x 128 tokens.
"""


def load_tokenizer(recipe: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer of the checkpoint or of the new model.

    Raises:
        UserError: the folder is missing or holds no tokenizer with an end-of-sequence token.
    """
    key = "from" if "from" in recipe else "tokenizer"
    folder = Path(recipe[key])
    if not folder.is_dir():
        raise UserError(
            f"`{key}`: {folder}: no such folder. Give the folder of a {'checkpoint' if key == 'from' else 'tokenizer'}."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"`{key}`: {folder} holds no tokenizer that transformers can load: {error}") from error
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"`{key}`: the tokenizer in {folder} has no eos_token, which ends each document. "
            "Name one in tokenizer_config.json."
        )
    return tokenizer


def load_model(recipe: dict[str, Any], tokenizer: PreTrainedTokenizerBase, device: torch.device) -> PreTrainedModel:
    """The checkpoint's model, still without its weights, or a new one with random weights that
    depend on the seed alone; in float32. Under an adapter, the checkpoint's is in the type of the
    arithmetic, or in NF4 and with its weights.

    Raises:
        UserError: there is no checkpoint, `init` has an unknown architecture or key, the tokenizer
            has more tokens than the model, or the sequences are too long for it.
    """
    model = continued(recipe, device) if "from" in recipe else new(recipe["init"], tokenizer, recipe["seed"])
    # Many models have more embeddings than tokens (rows of padding). Fewer cannot work.
    if max(tokenizer.get_vocab().values()) >= model.config.vocab_size:
        raise UserError(
            f"{recipe.get('from')}: the tokenizer has {len(tokenizer)} tokens, the model's vocab_size is {model.config.vocab_size}. "
            "Give the checkpoint the tokenizer that it was trained with."
        )
    longest = getattr(model.config, "max_position_embeddings", None) or recipe["sequence_length"]
    if recipe["sequence_length"] > longest:
        raise UserError(
            f"`sequence_length`: {recipe['sequence_length']} is more than the model's max_position_embeddings, "
            f"{longest}. Lower the first or raise the second."
        )
    model.generation_config = generation_config(model, tokenizer)
    if "lora" in recipe:
        from langmerge.training.adapters import add_adapter

        add_adapter(model, recipe)
    return model


def continued(recipe: dict[str, Any], device: torch.device) -> PreTrainedModel:
    """The model of a checkpoint without its weights, which `sharding.read_weights` reads, unless
    they are quantised.

    Its tensors are allocated and not written, so that the system gives them no memory: what a
    process does not keep of them costs nothing.

    Raises:
        UserError: there are no weights, or no configuration that transformers can load.
    """
    folder, lora = Path(recipe["from"]), recipe.get("lora", {})
    weight_files(folder)
    dtype = getattr(torch, recipe["dtype"]) if lora else torch.float32
    try:
        if "quantize" in lora:
            from langmerge.training.adapters import quantised

            return quantised(folder, dtype, device, ATTENTION)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with no_init_weights():
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=ATTENTION)
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"`from`: {folder} holds no checkpoint that transformers can load: {error}") from error
    model.tie_weights()
    return model


def new(init: dict[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    settings = dict(init)
    model_type = settings.pop("model_type")
    try:
        known = AutoConfig.for_model(model_type)
    except ValueError as error:
        raise UserError(
            f"`init.model_type`: {model_type!r} is not an architecture of transformers, such as llama or qwen3."
        ) from error
    reserved = {"vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"} & set(settings)
    if reserved:
        raise UserError(f"`init`: {', '.join(sorted(reserved))} must be left out: it comes from the tokenizer.")
    # transformers accepts any key. A misspelt one would silently leave the default.
    unknown = [key for key in settings if not hasattr(known, key)]
    if unknown:
        raise UserError(
            f"`init`: {', '.join(unknown)} is not a setting of {model_type} in transformers. "
            f"Known: {', '.join(sorted(known.to_dict()))}."
        )
    try:
        config = AutoConfig.for_model(
            model_type,
            **settings,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        torch.manual_seed(seed)  # transformers' set_seed imports Trainer, PEFT and bitsandbytes
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=ATTENTION)
    except (ValueError, StrictDataclassError) as error:
        raise UserError(f"`init`: {model_type} cannot be built from these settings: {error}") from error


def generation_config(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """The checkpoint's own settings. Generation stops at the end of a document or of a turn."""
    config = model.generation_config
    before = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    ends = [*before, tokenizer.eos_token_id, end_of_turn(tokenizer)]
    config.eos_token_id = list(dict.fromkeys(end for end in ends if end is not None))
    config.bos_token_id = tokenizer.bos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    return config


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that the chat template puts after an assistant's turn, or None."""
    if not tokenizer.chat_template:
        return None
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    tokens = tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"]
    answer = len(tokens) - tokens[::-1].index(tokenizer.convert_tokens_to_ids(tokenizer.tokenize("!")[-1]))
    return next((token for token in tokens[answer:] if token in tokenizer.all_special_ids), None)


def save_model(folder: Path, model: PreTrainedModel, weights: dict[str, torch.Tensor], dtype: str) -> None:
    """Write weights, configuration and generation settings.

    Args:
        weights: all of them, on any device.
        dtype: torch's name of their type.

    Raises:
        UserError: a weight is NaN or infinite.
    """
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(
            f"the training diverged: {len(broken)} tensors hold NaN or infinity, {broken[0]} among them. "
            "Lower `learning_rate`."
        )
    model.save_pretrained(folder, state_dict=weights)
    # The model's configuration has the type of the training.
    model.config.dtype, model.config.use_cache = dtype, True
    model.config.save_pretrained(folder)
    # safetensors writes files that only their owner can read, but a group shares its models.
    for file in folder.glob("*.safetensors"):
        shutil.copymode(folder / "config.json", file)
