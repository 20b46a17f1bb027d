#!/usr/bin/env python3
"""Time merges of a 1.2B bf16 Llama against copying one such checkpoint, and print a table in Markdown.

A repetition runs everything once, each merge right after a copy of the same size, since machines are noisy; the table has the medians of
seconds and of the ratios to that copy. Sources are read before each command, so that they come from the page
cache, as in a grid.
The models (7.5 GB) are made in FOLDER at the first call and stay there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tqdm import tqdm

MERGE = Path(__file__).parents[2] / "scripts" / "merge.py"
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
"""Methods with the parameters that make them work."""

PEAK = (
    "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
)
"""Runs a script, then prints its own peak memory in KiB (a child's, as getrusage has it, would include its parent's)."""


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
    """base: random; instruct and language: that plus a small random task vector of their own, all rounded to bf16."""
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
    """Seconds of a command, and its peak memory in KiB if it prints it last."""
    shutil.rmtree(output, ignore_errors=True)
    os.sync()
    time.sleep(pause)
    # After the pause, in which a machine may take memory back from files that nobody reads.
    for file in output.parent.glob("*/model.safetensors"):
        subprocess.run(["cat", file], stdout=subprocess.DEVNULL, check=True)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])}: {done.stderr}")
    last = done.stdout.split()[-1:]
    return seconds, int(last[0]) if last and last[0].isdecimal() else 0


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
        help="before each command (default: 20). Memory that a virtual machine has just freed is still mapped, and a copy right after a removal "
        "four times as fast as one minutes later, as it is in a grid",
    )
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument(
        "--mergekit",
        type=Path,
        metavar="PYTHON",
        help="the python of an environment with mergekit 0.1.5, to be timed once, too",
    )
    options = parser.parse_args()
    if not (options.folder / "language" / "model.safetensors").is_file():
        make_models(options.folder)
    output = options.folder / "output"
    source = options.folder / "instruct" / "model.safetensors"
    copy = ["sh", "-c", f"mkdir -p '{output}' && cp '{source}' '{output}/copy' && sync '{output}/copy'"]
    threads = ["--threads", str(options.threads)] if options.threads else []
    found: dict[str, list[tuple[float, float, float, int]]] = {method: [] for method in options.methods}
    for _ in tqdm(range(options.repeats), desc="repetitions"):
        for method in options.methods:
            merge = [
                sys.executable,
                "-c",
                PEAK,
                str(MERGE),
                json.dumps(recipe(options.folder, method)),
                str(output),
                *threads,
            ]
            base, _ = timed(copy, output, options.pause)
            direct, peak = timed(merge, output, options.pause)
            buffered, other = timed([*merge, "--page-cache"], output, options.pause)
            found[method].append((base, direct, buffered, max(peak, other)))
    print(
        "| method | cp + fsync, s | O_DIRECT, s | ratio | page cache, s | ratio | peak, MB |\n|---|---|---|---|---|---|---|"
    )
    for method, runs in found.items():
        copies, directs, buffereds, peaks = zip(*runs, strict=True)
        ratio, other = (
            statistics.median(a / b for a, b in zip(times, copies, strict=True)) for times in (directs, buffereds)
        )
        middle = [statistics.median(times) for times in (copies, directs, buffereds)]
        print(
            f"| {method} | {middle[0]:.1f} | {middle[1]:.1f} | {ratio:.2f} | {middle[2]:.1f} | {other:.2f} | {max(peaks) * 1024 / 1e6:.0f} |"
        )
    if options.mergekit:
        print("\n| method | mergekit, s | peak, MB |\n|---|---|---|")
        for method in options.methods:
            file = options.folder / "mergekit.yml"
            file.write_text(json.dumps(recipe(options.folder, method)))
            code = PEAK.replace(
                "runpy.run_path(sys.argv[0], run_name='__main__')",
                "from mergekit.scripts.run_yaml import main\nmain(standalone_mode=False)",
            )
            seconds, peak = timed(
                [str(options.mergekit), "-c", code, "mergekit", str(file), str(output)], output, options.pause
            )
            print(f"| {method} | {seconds:.0f} | {peak * 1024 / 1e6:.0f} |", flush=True)
    shutil.rmtree(output)


if __name__ == "__main__":
    main()
