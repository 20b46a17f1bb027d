"""A random Llama of a few thousand parameters, with a tokenizer and a chat template: real for every library, and quick."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from support.paths import ROOT


def script(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / name, *map(str, arguments)], check=True, cwd=ROOT)


def make_model(folder: Path, corpus: Path, **config: Any) -> None:
    """Train a tokenizer on a corpus (JSON lines), and put it and a model beside each other."""
    script("tokenizer.py", folder, "--vocab-size", 400, corpus)
    tokenizer = AutoTokenizer.from_pretrained(folder)
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
