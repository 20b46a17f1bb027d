"""Checkpoints of a tiny Llama, recipes, and merges of them in this process or by the command."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from langmerge.commands import merge as command
from langmerge.errors import UserError
from langmerge.merging.methods import METHODS

MERGE = [sys.executable, "-m", "langmerge", "merge"]
"""The command, as a process of its own."""

PEAK = [
    sys.executable,
    "-c",
    # VmHWM and not getrusage, whose peak a child inherits from the process that started it.
    "import sys; from langmerge.cli import main; main(sys.argv[1:])\n"
    "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))",
    "merge",
]
"""The same, which prints its peak memory in KiB in the end."""

WIDTH, VOCABULARY = 16, 258
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 258,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 257,
}
"""The shape of a tiny language model, for transformers' own classes."""

TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}: {{ message.content }}{% endfor %}"

EMBEDDINGS, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


# ---- checkpoints


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a Llama."""
    width, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    layer = {f"self_attn.{name}_proj.weight": (width, width) for name in "qkvo"}
    layer |= {
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
    }
    layer |= {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}
    every = {
        f"model.layers.{i}.{name}": shape for i in range(config["num_hidden_layers"]) for name, shape in layer.items()
    }
    head = {} if config["tie_word_embeddings"] else {HEAD: (vocabulary, width)}
    return {EMBEDDINGS: (vocabulary, width), NORM: (width,), **every, **head}


def write_model(folder: Path, seed: int, dtype: Any = np.float32, **changes: Any) -> Path:
    """A checkpoint of random weights, with a byte-level tokenizer, a chat template and generation
    settings.
    """
    config = {**CONFIG, "torch_dtype": np.dtype(dtype).name, **changes}
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    tensors = {name: (generator.normal(size=shape) * 0.1).astype(dtype) for name, shape in shapes(config).items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 257, "max_length": 60}))
    return folder


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer of 258 tokens, with a chat template that names the folder."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*alphabet, "<|im_start|>", "<|eos|>"])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|eos|>"})
    )
    (folder / "chat_template.jinja").write_text(f"{TEMPLATE}{{# {folder.name} #}}")


def edit_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def shard_in_two(folder: Path) -> None:
    """Write a model's weights as two shards and an index, in an order of their own."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {}
    for number, names in enumerate([sorted(tensors)[1::2], sorted(tensors)[::2]], start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, folder / file, {"format": "pt"})
        where |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def grow(folder: Path) -> None:
    """Make the three models large enough for a merge to be interrupted: 64 MiB each."""
    for name in ("base", "instruct", "eu"):
        tensor = np.zeros((2048, 512), np.float32)
        save_file({f"layer.{i}": tensor for i in range(16)}, folder / name / "model.safetensors")


def content(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


# ---- merges


def recipe(method: str = "linear", *, weights: Sequence[float] = (1.0, 0.5), parameters=None, **keys) -> dict:
    """A recipe for the models instruct and eu, and base where the method needs one."""
    entries = [
        {"model": name, "parameters": {"weight": weight}}
        for name, weight in zip(["instruct", "eu"], weights, strict=True)
    ]
    base = {} if method == "linear" else {"base_model": "base"}
    return {
        "merge_method": method,
        "models": entries,
        **base,
        "parameters": parameters or {},
        "tokenizer_source": "instruct",
        **keys,
    }


PARAMETERS = {"slerp": {"t": 0.3}, "nearswap": {"t": 0.05}, "layer_swap": {"bottom": 1, "top": 0}}
"""Of methods that need some, or whose defaults are for more layers."""


def given_for(name: str) -> dict:
    """A recipe of any method, with densities and weights that are not neutral."""
    method = METHODS[name]
    of_two = method.needs_base and method.max_models == 2
    models = ["eu"] if of_two or method.max_models == 1 else ["instruct", "eu"]
    weights = {"instruct": {"weight": 1.0}, "eu": {"weight": 0.5}} if "weight" in method.per_model else {}
    density = {"density": 0.5} if "density" in method.per_model else {}
    base = {"base_model": "instruct" if of_two else "base"} if method.needs_base else {}
    return {
        "merge_method": name,
        "models": [{"model": model, "parameters": weights.get(model, {})} for model in models],
        **base,
        "parameters": {**density, **PARAMETERS.get(name, {})},
        "tokenizer_source": "eu" if method.max_models == 1 else "instruct",
    }


def as_text(given: dict | str) -> str:
    """A recipe as an argument."""
    return given if isinstance(given, str) else json.dumps(given)


def run(given: dict | str, output: object = "out", *options: str) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    return subprocess.run([*MERGE, as_text(given), str(output), *options], capture_output=True, text=True)


def run_here(given: dict | str, output: object = "out", *options: str) -> str:
    """Run the command in this process; return what it printed."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        command.run(parser.parse_args([as_text(given), str(output), *options]))
    return printed.getvalue()


def merged(given: dict | str, output: object = "out", *options: str) -> dict[str, np.ndarray]:
    """Run the command in this process; return what it wrote as the safetensors library reads it."""
    assert run_here(given, output, *options) == ""
    tensors = {}
    for file in sorted(Path(str(output)).glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def refused(given: dict | str, *words: str, output: object = "out", options: Sequence[str] = ()) -> str:
    """The command ends with one clear line, which is returned, and leaves nothing behind."""
    before = sorted(Path().rglob("*"))
    with pytest.raises(UserError) as error:
        run_here(given, output, *options)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert sorted(Path().rglob("*")) == before
    return message


def fails(given: dict | str, *words: str, output: object = "out") -> None:
    """As `refused`, in a process of its own: its status is 1, and it prints the one line and
    nothing else.
    """
    before = sorted(Path().rglob("*"))
    done = run(given, output)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr
    assert sorted(Path().rglob("*")) == before
