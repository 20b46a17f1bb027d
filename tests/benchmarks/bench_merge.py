#!/usr/bin/env python3
"""Time merges of a 1.2B bf16 Llama against copying one such checkpoint, and print a table in
Markdown.

A repetition runs everything once, each merge right after a copy of the same size, because machines
are noisy; the table has the medians of seconds and of the ratios to that copy. Sources are read
before each command, so that they come from the page cache, as in a grid. The models (7.5 GB) are
made in FOLDER at the first call and stay there.

To compare with another checkout, name its merge command: each of its merges runs right after this
one's, and the table gets its rows, too.

    bench_merge.py FOLDER --other "../old/.venv/bin/python ../old/scripts/merge.py"
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import ml_dtypes
import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tqdm import tqdm

MERGE = [sys.executable, "-m", "langmerge", "merge"]
WIDTH, INNER, LAYERS, KEYS, VOCABULARY = 2048, 8192, 16, 512, 128256
"""Llama 3.2 1B: 1.236B weights, embeddings tied."""

RECIPES = {
    "linear": {},
    "task_arithmetic": {},
    "nearswap": {"t": 0.5},
    "slerp": {"t": 0.5},
    "dare_linear": {"density": 0.5},
    "dare_ties": {"density": 0.5},
    "ties": {"density": 0.5},
    "breadcrumbs": {"density": 0.9, "gamma": 0.01},
    "breadcrumbs_ties": {"density": 0.9, "gamma": 0.01},
    "della": {"density": 0.5, "epsilon": 0.1},
}
"""The methods, with parameters for which they have work to do."""

WATCH = 0.1
"""Seconds between two looks at the memory of a running command."""


def shapes() -> dict[str, tuple[int, ...]]:
    attention = {"q": (WIDTH, WIDTH), "k": (KEYS, WIDTH), "v": (KEYS, WIDTH), "o": (WIDTH, WIDTH)}
    layer = {f"self_attn.{name}_proj.weight": shape for name, shape in attention.items()}
    layer |= {
        "mlp.gate_proj.weight": (INNER, WIDTH),
        "mlp.up_proj.weight": (INNER, WIDTH),
        "mlp.down_proj.weight": (WIDTH, INNER),
    }
    layer |= {"input_layernorm.weight": (WIDTH,), "post_attention_layernorm.weight": (WIDTH,)}
    every = {f"model.layers.{number}.{name}": shape for number in range(LAYERS) for name, shape in layer.items()}
    return {"model.embed_tokens.weight": (VOCABULARY, WIDTH), **every, "model.norm.weight": (WIDTH,)}


def make_models(folder: Path) -> None:
    """base: random; instruct and language: that plus a small random task vector of their own, all
    rounded to bf16.
    """
    tensors = shapes()
    entries, end = {}, 0
    for name, shape in tensors.items():
        begin, end = end, end + 2 * int(np.prod(shape))
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
    }
    config |= {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "torch_dtype": "bfloat16"}
    config |= {"num_attention_heads": 32, "num_key_value_heads": 8}
    names = ("base", "instruct", "language")
    generators = [np.random.default_rng(seed) for seed in range(len(names))]
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config))
        Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(folder / name / "tokenizer.json"))
        (folder / name / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    files = [(folder / name / "model.safetensors.partial").open("wb") for name in names]
    for file in files:
        file.write(len(header).to_bytes(8, "little") + header)
    for shape in tqdm(tensors.values(), desc="making models", unit="tensor"):
        for rows in range(0, shape[0], 4096):
            part = (min(4096, shape[0] - rows), *shape[1:])
            base = 0.02 * generators[0].standard_normal(part, np.float32)
            files[0].write(base.astype(ml_dtypes.bfloat16))
            for file, generator in zip(files[1:], generators[1:], strict=True):
                file.write((base + 0.001 * generator.standard_normal(part, np.float32)).astype(ml_dtypes.bfloat16))
    for file in files:
        file.close()
        Path(file.name).rename(file.name.removesuffix(".partial"))


def recipe(folder: Path, method: str) -> dict:
    models = {name: {"model": str(folder / name)} for name in ("instruct", "language")}
    given = {"merge_method": method, "models": list(models.values()), "parameters": RECIPES[method], "dtype": "float32"}
    if method in ("nearswap", "slerp"):
        given["base_model"] = str(folder / "instruct")
    else:
        for model in models.values():
            model["parameters"] = {"weight": 1.0}
        if method != "linear":
            given["base_model"] = str(folder / "base")
    return {**given, "out_dtype": "bfloat16", "tokenizer_source": str(folder / "instruct")}


def timed(command: list[str], output: Path, pause: float) -> tuple[float, int]:
    """Seconds of a command, and its peak memory in KiB."""
    shutil.rmtree(output, ignore_errors=True)
    os.sync()
    time.sleep(pause)
    # After the pause, in which a machine may take memory back from files that nobody reads.
    for file in output.parent.glob("*/model.safetensors"):
        subprocess.run(["cat", file], stdout=subprocess.DEVNULL, check=True)
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        peaks = [0]
        threading.Thread(target=watch, args=(process, peaks), daemon=True).start()
        printed, _ = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{' '.join(command[:4])}: {printed}")
    return seconds, max(peaks)


def watch(process: subprocess.Popen, peaks: list[int]) -> None:
    """Note a process's peak memory in KiB now and then, until it ends.

    From /proc and not from getrusage, whose peak a child inherits from the process that started it.
    """
    with suppress(OSError, StopIteration):  # it has ended
        while True:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peaks.append(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")))
            time.sleep(WATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="for models and results, on the disk to be measured; 20 GB"
    )
    parser.add_argument("--methods", nargs="+", choices=RECIPES, default=list(RECIPES), help="default: all")
    parser.add_argument("--repeats", type=int, default=3, help="default: 3")
    parser.add_argument(
        "--pause",
        type=float,
        default=20,
        metavar="SECONDS",
        help="before each command (default: 20). Memory that a virtual machine has just freed is still mapped, and a copy "
        "right after a removal is four times as fast as one minutes later, as in a grid",
    )
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument(
        "--mergekit",
        type=Path,
        metavar="PYTHON",
        help="the Python of an environment with mergekit 0.1.5, which is timed once, too",
    )
    parser.add_argument(
        "--other",
        type=shlex.split,
        metavar="COMMAND",
        help="the merge command of another checkout, which is timed in turns with this one's",
    )
    options = parser.parse_args()
    if not (options.folder / "language" / "model.safetensors").is_file():
        make_models(options.folder)
    output = options.folder / "output"
    source = options.folder / "instruct" / "model.safetensors"
    copy = ["sh", "-c", f"mkdir -p '{output}' && cp '{source}' '{output}/copy' && sync '{output}/copy'"]
    threads = ["--threads", str(options.threads)] if options.threads else []
    commands = {"": MERGE, **({" (other)": options.other} if options.other else {})}
    measured: dict[str, list[tuple[float, float, float, int]]] = {
        method + name: [] for method in options.methods for name in commands
    }
    for _ in tqdm(range(options.repeats), desc="repetitions"):
        for method in options.methods:
            given = json.dumps(recipe(options.folder, method))
            for name, command in commands.items():
                merge = [*command, given, str(output), *threads]
                base, _ = timed(copy, output, options.pause)
                direct, peak = timed(merge, output, options.pause)
                buffered, other_peak = timed([*merge, "--page-cache"], output, options.pause)
                measured[method + name].append((base, direct, buffered, max(peak, other_peak)))
    print("| method | cp + fsync, s | O_DIRECT, s | ratio | page cache, s | ratio | peak, MB |")
    print("|---|---|---|---|---|---|---|")
    for name, runs in measured.items():
        copies, directs, buffereds, peaks = zip(*runs, strict=True)
        copied, direct, buffered = (statistics.median(times) for times in (copies, directs, buffereds))
        ratio, buffered_ratio = (
            statistics.median(a / b for a, b in zip(times, copies, strict=True)) for times in (directs, buffereds)
        )
        peak = max(peaks) * 1024 / 1e6
        print(
            f"| {name} | {copied:.1f} | {direct:.1f} | {ratio:.2f} | {buffered:.1f} | {buffered_ratio:.2f} | {peak:.0f} |"
        )
    if options.mergekit:
        print("\n| method | mergekit, s | peak, MB |\n|---|---|---|")
        for method in options.methods:
            file = options.folder / "mergekit.yml"
            file.write_text(json.dumps(recipe(options.folder, method)))
            command = [str(options.mergekit), "-m", "mergekit.scripts.run_yaml", str(file), str(output)]
            seconds, peak = timed(command, output, options.pause)
            print(f"| {method} | {seconds:.0f} | {peak * 1024 / 1e6:.0f} |", flush=True)
    shutil.rmtree(output)


if __name__ == "__main__":
    main()
