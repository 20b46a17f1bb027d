#!/usr/bin/env python3
"""Time one `langmerge evaluate` for ten tasks of 50 documents against one `lm_eval` per task.

Both ask the same model the same questions, and the scores are compared. The model is of the
miniature's size (one million parameters), so what is measured is everything but the model: starting
Python and its libraries, finding the task, loading data and model, the report. With larger models
the share of that falls, but loading them ten times takes longer. Rounds are interleaved, since
machines are noisy; the table, in Markdown, has the medians.
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

import torch
import yaml
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from langmerge.evaluation.sealed import read_sealed
from langmerge.evaluation.taskfiles import BASES
from langmerge.grid.folders import ROOT, Folders
from langmerge.mini.benchmarks import Sizes
from langmerge.mini.world import write_world
from langmerge.training.tokenizer import texts, train_tokenizer

LANGUAGES = ("eu", "gl")
DOCUMENTS = 50
SHAPE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
BATCH = 16
PROGRAMS = Path(sys.executable).parent


def tasks(language: str) -> list[dict]:
    """Three benchmarks and two translations."""
    benchmarks = [
        {"task": f"mini_{kind}_{language}", "measure": "benchmark", "metric": "acc"}
        for kind in ("vocabulary", "calendar", "grammar")
    ]
    translations = [
        {"task": f"mini_translation_{source}_{language}", "measure": "mt", "metric": "bleu"} for source in ("en", "es")
    ]
    return [{**task, "language": language, "fewshot": 1} for task in benchmarks + translations]


def make_work(folder: Path) -> None:
    """Write the model and the tasks, unless they are there."""
    if (folder / "model").is_dir():
        return
    for language in LANGUAGES:
        sizes = Sizes(DOCUMENTS, DOCUMENTS, 1)
        write_world(folder / language, Folders(own=ROOT / "config"), language, None, sizes, 2000, seed=1)
        for path in (folder / language / "tasks").glob("*.yaml"):
            write_for_lm_eval(path, folder / language / "lm_eval" / path.name)
    tokenizer = train_tokenizer(texts([folder / "eu" / "corpus.jsonl"]), 400)
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **special, **SHAPE))
    tokenizer.save_pretrained(folder / "model")
    model.save_pretrained(folder / "model")


def write_for_lm_eval(path: Path, target: Path) -> None:
    """Write a task's YAML as lm-eval reads it: with `include`, and absolute paths of its data."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings["include"] = str(BASES / settings.pop("base"))
    files = settings["dataset_kwargs"]["data_files"]
    settings["dataset_kwargs"]["data_files"] = {split: str(path.parent / name) for split, name in files.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(settings), encoding="utf-8")


def run(command: list[object], environment: dict[str, str]) -> float:
    """Run a command; return the seconds that it took."""
    began = time.perf_counter()
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    return time.perf_counter() - began


def ours(folder: Path, environment: dict[str, str]) -> tuple[float, dict[str, float]]:
    """Seconds, and the value of each task, of one `langmerge evaluate`."""
    out = folder / "ours"
    shutil.rmtree(out, ignore_errors=True)
    asked = [task for language in LANGUAGES for task in tasks(language)]
    include = [folder / language / "tasks" for language in LANGUAGES]
    backend = {"dtype": "float32", "batch_size": BATCH, "max_length": 512, "device": "cpu"}
    command = [PROGRAMS / "langmerge", "evaluate", folder / "model", out / "result.json", "--samples", out / "samples"]
    command += ["--tasks", json.dumps(asked), "--include", *include, "--backend", json.dumps(backend)]
    seconds = run(command, environment)
    return seconds, {score["task"]: score["value"] for score in read_sealed(out / "result.json")["scores"]}


def theirs(folder: Path, environment: dict[str, str]) -> tuple[float, dict[str, float]]:
    """Seconds, and the value of each task, of one `lm_eval` per task."""
    out = folder / "theirs"
    shutil.rmtree(out, ignore_errors=True)
    seconds, values = 0.0, {}
    arguments = f"pretrained={folder / 'model'},dtype=float32,max_length=512"
    options = ["--model", "hf", "--model_args", arguments, "--device", "cpu", "--batch_size", BATCH, "--log_samples"]
    for language in LANGUAGES:
        for task in tasks(language):
            command = [PROGRAMS / "lm_eval", *options, "--tasks", task["task"], "--num_fewshot", 1]
            command += ["--include_path", folder / language / "lm_eval", "--output_path", out / task["task"]]
            seconds += run(command, environment)
            (report,) = (out / task["task"]).rglob("results_*.json")
            value = json.loads(report.read_text())["results"][task["task"]][f"{task['metric']},none"]
            values[task["task"]] = value if task["metric"] == "bleu" else 100 * value
    return seconds, values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where model, data and results are kept")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = options.folder.resolve()
    make_work(folder)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    times: dict[str, list[float]] = {"langmerge": [], "lm_eval": [], "ratio": []}
    for _ in tqdm(range(options.rounds), unit="round"):
        (fast, found), (slow, expected) = ours(folder, environment), theirs(folder, environment)
        for task, value in expected.items():
            if abs(found[task] - value) > 1e-6:
                sys.exit(f"{task}: {found[task]} here, {value} by lm_eval: this is not the same work.")
        for name, seconds in zip(times, (fast, slow, slow / fast), strict=True):
            times[name].append(seconds)
    print("| langmerge evaluate, s | 10 x lm_eval, s | ratio |\n|---|---|---|")
    print("| " + " | ".join(f"{statistics.median(values):.1f}" for values in times.values()) + " |")
    print(f"\nrounds: {json.dumps(times)}")


if __name__ == "__main__":
    main()
