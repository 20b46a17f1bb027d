"""The training loop against a bare loop of torch, and what a rank holds of a large model.

python tests/benchmarks/bench_train.py speed     steps per second, in turns
python tests/benchmarks/bench_train.py memory    two ranks train a model of a billion random weights
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, set_seed
from transformers.initialization import no_init_weights

from langmerge.overview.trainings import MEANS, WEIGHT
from langmerge.tokens import META, SHARDS, tokenizer_hash
from langmerge.training import loop
from langmerge.training.recipe import complete
from langmerge.training.shards import write_shard
from langmerge.training.tokenizer import train_tokenizer

MINI = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
}
ONE_B = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 32000,
    "tie_word_embeddings": True,
}
"""The shapes of config/backbones/mini.yaml and of Llama 3.2 1B, but with a smaller vocabulary: two
processes with that of 128,256 tokens need more than 24 GB.
"""

LENGTH, BATCH, VOCABULARY = 128, 4, 1536


def bare(steps: int) -> float:
    """Seconds per step of nothing but model, loss, gradient, clipping and AdamW."""
    set_seed(1)
    settings = {key: value for key, value in MINI.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("llama", vocab_size=VOCABULARY, **settings), attn_implementation="eager"
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    batches = torch.randint(5, VOCABULARY, (steps, BATCH, LENGTH))
    began = time.process_time()
    for batch in batches:
        model(batch, labels=batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - began) / steps


def ours(steps: int, folder: Path) -> float:
    """Seconds per step of `langmerge train` on tokens of the same shape, without loading and
    saving.
    """
    recipe = {
        "init": MINI,
        "tokenizer": str(folder / "tokenizer"),
        "data": {str(folder / "tokens"): 1},
        "sequence_length": LENGTH,
        "batch_size": BATCH,
        "steps": steps,
        "learning_rate": 1e-3,
        "dtype": "float32",
    }
    run, found = loop.Training.run, []

    def timed(self: loop.Training) -> None:
        began = time.process_time()
        run(self)
        found.append(time.process_time() - began)

    loop.Training.run = timed
    loop.train(folder / "model", complete(recipe), threads=1)
    loop.Training.run = run
    return found[0] / steps


def write_tokens(folder: Path) -> None:
    """A tokenizer of some tokens, and a corpus that pretends to be its."""
    tokenizer = train_tokenizer(iter([f"{number} {number * 7919 % 104729:x}" for number in range(20000)]), VOCABULARY)
    tokenizer.save_pretrained(folder / "tokenizer")
    tokens = np.random.default_rng(1).integers(5, len(tokenizer), 400_000).tolist()
    (folder / "tokens" / SHARDS).mkdir(parents=True)
    documents, number = write_shard(folder / "tokens" / SHARDS / "a.bin", [(tokens, None)])
    from transformers import AutoTokenizer

    known = tokenizer_hash(AutoTokenizer.from_pretrained(folder / "tokenizer"))
    meta = {"tokenizer": known, "documents": documents, "tokens": number, "bytes": 1}
    (folder / "tokens" / META).write_text(json.dumps(meta))


def speed(steps: int, turns: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        write_tokens(Path(name))
        bare(20)
        pairs = [(bare(steps), ours(steps, Path(name))) for _ in range(turns)]
    for left, right in pairs:
        print(f"bare {1000 * left:.2f} ms, langmerge {1000 * right:.2f} ms of processor time a step")
    left, right = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"| bare loop | {1000 * left:.2f} ms |\n| langmerge | {1000 * right:.2f} ms |\n| share | {left / right:.2f} |"
    )


def memory() -> None:
    """Two ranks load the model, make two steps with AdamW in 8 bits, and save a checkpoint."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokens(folder)
        origin = shutil.copytree(folder / "tokenizer", folder / "origin")
        config = AutoConfig.for_model("llama", **ONE_B)
        with no_init_weights():
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.tie_weights()
        config.save_pretrained(origin)
        with torch.no_grad():
            weights = {key: torch.empty_like(value).normal_(0, 0.02) for key, value in model.named_parameters()}
        save_file(weights, origin / "model.safetensors", {"format": "pt"})
        del model, weights
        torch.multiprocessing.spawn(measured, (folder,), nprocs=2)


def measured(rank: int, folder: Path) -> None:
    """One of two ranks of a training."""
    local = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    found = {**local, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29511}
    os.environ |= {key: str(value) for key, value in found.items()}

    def say(what: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"rank {rank}: {peak / 2**20:.2f} GiB at most, {what}", flush=True)

    class Measured(loop.Training):
        def __init__(self, *arguments: Any) -> None:
            say("before its optimiser")
            super().__init__(*arguments)
            part = sum(parameter.to_local().numel() for parameter in self.parameters)
            held = part * (2 * WEIGHT + MEANS["adamw_8bit"])
            print(f"rank {rank}: its part {held / 2**30:.2f} GiB, of {part} weights", flush=True)

        def update(self, rate: float) -> None:
            say("before an update")
            super().update(rate)
            say("after it")

        def save(self) -> None:
            super().save()
            say("saved")

    loop.Training = Measured
    say("before all")
    recipe = {
        "from": str(folder / "origin"),
        "data": {str(folder / "tokens"): 1},
        "sequence_length": 512,
        "batch_size": 4,
        "micro_batch": 1,
        "recompute": True,
        "steps": 2,
        "optimizer": "adamw_8bit",
    }
    loop.train(folder / "model", complete(recipe), threads=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    memory() if options.what == "memory" else speed(options.steps, options.turns)
