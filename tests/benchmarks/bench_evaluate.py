#!/usr/bin/env python3
"""Time one evaluate.py for ten tasks of 50 documents against one `lm_eval` command for each task, and print a table in Markdown.

Both ask the same model the same questions, and the scores are compared. The model is of the miniature's size (one million parameters), so what is measured
is everything but the model: starting Python and its libraries, finding the task, loading data and model, the report. With larger models
the share of that falls, but loading them ten times rises. Rounds are interleaved, since machines are noisy; the table has the medians.
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

from tqdm import tqdm

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.tiny import make_model, script  # noqa: E402 - it lies in tests/

LANGUAGES = ("eu", "gl")
DOCUMENTS = 50
SHAPE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
BATCH = 16


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
    if (folder / "model").is_dir():
        return
    for language in LANGUAGES:
        sizes = ("--lines", 2000, "--documents", DOCUMENTS, "--translations", DOCUMENTS, "--prompts", 1)
        script("corpus.py", folder / language, "--language", language, *sizes)
    make_model(folder / "model", folder / "eu" / "corpus.jsonl", **SHAPE)


def run(command: list[object], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    return time.perf_counter() - began


def ours(folder: Path, environment: dict[str, str]) -> tuple[float, dict[str, float]]:
    out = folder / "ours"
    shutil.rmtree(out, ignore_errors=True)
    asked = [task for language in LANGUAGES for task in tasks(language)]
    include = [folder / language / "tasks" for language in LANGUAGES]
    backend = {"dtype": "float32", "batch_size": BATCH, "max_length": 512, "device": "cpu"}
    command = [
        sys.executable,
        ROOT / "scripts/evaluate.py",
        folder / "model",
        out / "result.json",
        "--samples",
        out / "samples",
    ]
    seconds = run(
        [*command, "--tasks", json.dumps(asked), "--include", *include, "--backend", json.dumps(backend)], environment
    )
    scores = json.loads((out / "result.json").read_text())["scores"]
    return seconds, {score["task"]: score["value"] for score in scores}


def theirs(folder: Path, environment: dict[str, str]) -> tuple[float, dict[str, float]]:
    out = folder / "theirs"
    shutil.rmtree(out, ignore_errors=True)
    seconds, values = 0.0, {}
    for language in LANGUAGES:
        for task in tasks(language):
            model = f"pretrained={folder / 'model'},dtype=float32,max_length=512"
            command = [
                Path(sys.executable).with_name("lm_eval"),
                "--model",
                "hf",
                "--model_args",
                model,
                "--device",
                "cpu",
                "--batch_size",
                BATCH,
            ]
            command += ["--tasks", task["task"], "--num_fewshot", 1, "--include_path", folder / language / "tasks"]
            seconds += run([*command, "--output_path", out / task["task"], "--log_samples"], environment)
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
    times: dict[str, list[float]] = {"evaluate.py": [], "lm_eval": [], "ratio": []}
    for _ in tqdm(range(options.rounds), unit="round"):
        (fast, found), (slow, expected) = ours(folder, environment), theirs(folder, environment)
        for task, value in expected.items():
            if abs(found[task] - value) > 1e-6:
                sys.exit(f"{task}: {found[task]} here, {value} by lm_eval: this is not the same work.")
        for name, seconds in zip(times, (fast, slow, slow / fast), strict=True):
            times[name].append(seconds)
    print("| evaluate.py, s | 10 x lm_eval, s | ratio |\n|---|---|---|")
    print("| " + " | ".join(f"{statistics.median(values):.1f}" for values in times.values()) + " |")
    print(f"\nrounds: {json.dumps(times)}")


if __name__ == "__main__":
    main()
