"""A random Llama of a few thousand parameters, and a small miniature world, quick to make.

The model has a tokenizer and a chat template.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from langmerge.grid.folders import Folders
from langmerge.mini.benchmarks import Sizes
from langmerge.mini.world import write_world
from langmerge.training.tokenizer import texts, train_tokenizer
from support.paths import ROOT


def make_world(folder: Path, language: str = "eu", lines: int = 400) -> None:
    """Write the miniature world of a language: 8 documents per task, 4 translations, 4 prompts."""
    write_world(folder, Folders(own=ROOT / "config"), language, None, Sizes(8, 4, 4), lines, seed=1)


def make_model(folder: Path, corpus: Path, **config: Any) -> None:
    """Train a tokenizer on a corpus (JSON lines); save it and a random model into one folder."""
    tokenizer = train_tokenizer(texts([corpus]), 400)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }
    LlamaForCausalLM(LlamaConfig(**{**shape, **config})).save_pretrained(folder)
