#!/usr/bin/env python3
"""Time a dry run of large grids against a workflow of empty rules with as many jobs, and print a table in Markdown.

Nothing is finished in the grids: every merge and every evaluation is planned. The last one is ten times the paper's and more, 30 languages x 6 backbones x
8 methods x 8 weights. Runs of the two take turns; the table has medians, and the largest peak memory.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from tqdm import tqdm

ROOT = Path(__file__).parents[2]

SIZES = [(4, 2, 4, 4), (8, 4, 4, 8), (15, 6, 4, 8), (15, 6, 8, 8), (30, 6, 8, 8)]
"""Languages, backbones, methods, weights."""

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


def grid_of(folder: Path, languages: int, backbones: int, methods: int, weights: int) -> None:
    """A copy of the project with a run of this size, of models that lie in a folder."""
    for name in ("Snakefile", "workflow", "config", "scripts", "profiles", "envs"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    codes = [f"l{number:02d}" for number in range(languages)]
    for code in codes:
        (folder / "config/languages" / f"{code}.yaml").write_text(f"{{name: {code}, locale: en, mt_sources: [en]}}")
    models = {role: {"path": str(folder / "given" / role)} for role in ("base", "instruct")}
    models["adapted"] = {"path": str(folder / "given" / "{language}")}
    for model in ("base", "instruct", *codes):
        (folder / "given" / model).mkdir(parents=True)
    names = [f"b{number}" for number in range(backbones)]
    for name in names:
        (folder / "config/backbones" / f"{name}.yaml").write_text(
            yaml.safe_dump({"dtype": "bfloat16", "models": models})
        )
    recipes = [{"merge_method": "linear", "label": str(number)} for number in range(methods)]
    run = {
        "run": "large",
        "languages": codes,
        "backbones": names,
        "weights": [0.25 * (number + 1) for number in range(weights)],
        "methods": {f"m{number}": recipe for number, recipe in enumerate(recipes)},
        "experiments": {"sweep": {"methods": [f"m{number}" for number in range(methods)], "evaluate": "target"}},
        "tasks": [
            {"task": f"mini_{kind}_{{language}}", "measure": "benchmark", "metric": "acc"}
            for kind in ("grammar", "calendar")
        ],
    }
    (folder / "config/large.yaml").write_text(yaml.safe_dump(run))


def dry_run(folder: Path, *arguments: str) -> tuple[float, int, int]:
    """Wall seconds, jobs and peak MB of a dry run."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", *arguments],
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
    return seconds, int(re.search(r"^total +(\d+)", output, re.MULTILINE)[1]), usage.ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--sizes", type=int, default=len(SIZES), help="how many of the grids, beginning with the smallest"
    )
    options = parser.parse_args()
    print(
        "| languages x backbones x methods x weights | cells | jobs | seconds | empty rules | ratio | peak MB | empty rules |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for size in tqdm(SIZES[: options.sizes], unit="grid", disable=None):
        with tempfile.TemporaryDirectory() as folder:
            ours, empty = Path(folder) / "ours", Path(folder) / "empty"
            ours.mkdir()
            empty.mkdir()
            grid_of(ours, *size)
            _, jobs, _ = dry_run(ours, "--configfile", "config/large.yaml")
            (empty / "Snakefile").write_text(EMPTY.format(jobs=jobs // 2))
            turns = [
                (dry_run(ours, "--configfile", "config/large.yaml"), dry_run(empty)) for _ in range(options.repeat)
            ]
        seconds, baseline = ([turn[side][0] for turn in turns] for side in (0, 1))
        ratio = statistics.median(mine / other for mine, other in zip(seconds, baseline, strict=True))
        memory = [max(turn[side][2] for turn in turns) for side in (0, 1)]
        languages, backbones, methods, weights = size
        print(
            f"| {languages} x {backbones} x {methods} x {weights} | {languages * backbones * methods * weights} | {jobs} "
            f"| {statistics.median(seconds):.1f} | {statistics.median(baseline):.1f} | {ratio:.2f} | {memory[0]} | {memory[1]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
