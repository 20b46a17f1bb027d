"""Random models of a few thousand parameters, of the architectures that are merged in practice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, PreTrainedConfig, Qwen3Config

from support.merging import write_tokenizer

VOCABULARY = 258
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "head_dim": 32,  # vLLM's attention on a CPU needs it
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 257,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**COMMON),
    "qwen3": Qwen3Config(**COMMON, tie_word_embeddings=True),
    "gemma3": Gemma3TextConfig(**COMMON, sliding_window=16, layer_types=["sliding_attention", "full_attention"]),
}
SHAPES = [*CONFIGS]
"""Llama with an output head of its own; Qwen3 and Gemma 3 with tied embeddings and norms in
attention.
"""


def shaped_model(folder: Path, shape: str, seed: int) -> Path:
    """Save a random model in bfloat16, with a byte-level tokenizer and a chat template."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[shape], dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():  # norms too, which begin as ones
            weight.add_(torch.randn_like(weight) * 0.1)
    model.to(torch.bfloat16).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def shaped_models(folder: Path, names: Iterable[str], shape: str = "llama") -> Path:
    """Write a random model of each name into a folder, all of one architecture."""
    for seed, name in enumerate(names):
        shaped_model(folder / name, shape, seed)
    return folder
