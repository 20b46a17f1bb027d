#!/usr/bin/env python3
"""Time dry runs of large grids against a workflow of empty rules with as many jobs; print a table
in Markdown.

Nothing is finished in the grids: every merge and every evaluation is planned. The last grid is more
than ten times the paper's. Each grid is a folder of its own in a temporary folder. Runs of the two
workflows alternate; the table shows medians of the times, and the largest peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file
from tqdm import tqdm

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Size:
    """Of a grid."""

    languages: int
    backbones: int
    methods: int
    weights: int

    @property
    def cells(self) -> int:
        return self.languages * self.backbones * self.methods * self.weights

    def __str__(self) -> str:
        return f"{self.languages} x {self.backbones} x {self.methods} x {self.weights}"


SIZES = [Size(4, 2, 4, 4), Size(8, 4, 4, 8), Size(15, 6, 4, 8), Size(15, 6, 8, 8), Size(30, 6, 8, 8)]

EMPTY = """
N = {jobs}

rule all:
    input: expand("scores/{{i}}/w1", i=range(N))

rule merge:
    output: temp(directory("models/{{i}}/w1"))
    shell: "mkdir {{output}}"

rule evaluate:
    input: "models/{{i}}/w1"
    output: "scores/{{i}}/w1"
    shell: "touch {{output}}"
"""
"""A merge and its evaluation, without parameters, resources or input functions."""


@dataclass(frozen=True)
class DryRun:
    """What one dry run took."""

    seconds: float
    jobs: int
    peak_mb: int


def write_yaml(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def write_grid(folder: Path, size: Size) -> None:
    """Write a folder with a run of this size, of models that are in the folder."""
    codes = [f"l{number:02d}" for number in range(size.languages)]
    for code in codes:
        write_yaml(folder / f"config/languages/{code}.yaml", {"name": code, "locale": "en", "mt_sources": ["en"]})
    for model in ("base", "instruct", *codes):
        place = folder / "given" / model
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps({"model_type": "llama"}))
        save_file({"weight": np.zeros(2, np.float32)}, place / "model.safetensors")
    models = {role: {"path": f"given/{role}"} for role in ("base", "instruct")}
    models["adapted"] = {"path": "given/{language}"}
    backbones = [f"b{number}" for number in range(size.backbones)]
    for name in backbones:
        write_yaml(folder / f"config/backbones/{name}.yaml", {"dtype": "bfloat16", "models": models})
    methods = {f"m{number}": {"merge_method": "linear", "label": str(number)} for number in range(size.methods)}
    run = {
        "run": "large",
        "languages": codes,
        "backbones": backbones,
        "weights": [0.25 * (number + 1) for number in range(size.weights)],
        "methods": methods,
        "experiments": {"sweep": {"methods": [*methods], "evaluate": "target"}},
        "tasks": [
            {"task": f"mini_{kind}_{{language}}", "measure": "benchmark", "metric": "acc"}
            for kind in ("grammar", "calendar")
        ],
    }
    write_yaml(folder / "config/config.yaml", run)


def dry_run(folder: Path, snakefile: Path) -> DryRun:
    """Run `snakemake --dry-run` in a folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--directory", folder]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*map(str, command), "--dry-run", "--quiet", "rules"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(output)
    jobs = int(re.search(r"^total +(\d+)", output, re.MULTILINE)[1])
    return DryRun(seconds, jobs, usage.ru_maxrss // 1024)


def measured(size: Size, repeat: int) -> str:
    """The table's row for a grid."""
    with tempfile.TemporaryDirectory() as temporary:
        ours, empty = Path(temporary) / "ours", Path(temporary) / "empty"
        write_grid(ours, size)
        jobs = dry_run(ours, ROOT / "Snakefile").jobs  # also fills the caches
        empty.mkdir()
        (empty / "Snakefile").write_text(EMPTY.format(jobs=jobs // 2))
        turns = [(dry_run(ours, ROOT / "Snakefile"), dry_run(empty, empty / "Snakefile")) for _ in range(repeat)]
    seconds = [statistics.median(turn[side].seconds for turn in turns) for side in (0, 1)]
    ratio = statistics.median(mine.seconds / other.seconds for mine, other in turns)
    memory = [max(turn[side].peak_mb for turn in turns) for side in (0, 1)]
    return (
        f"| {size} | {size.cells} | {jobs} | {seconds[0]:.1f} | {seconds[1]:.1f} | {ratio:.2f} "
        f"| {memory[0]} | {memory[1]} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each workflow per grid (default: 3)")
    parser.add_argument(
        "--sizes", type=int, default=len(SIZES), help="how many of the grids, from the smallest (default: all)"
    )
    options = parser.parse_args()
    print(
        "| languages x backbones x methods x weights | cells | jobs | s | s, empty rules | ratio | MB | MB, empty rules |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for size in tqdm(SIZES[: options.sizes], unit="grid", disable=None):
        print(measured(size, options.repeat), flush=True)


if __name__ == "__main__":
    main()
