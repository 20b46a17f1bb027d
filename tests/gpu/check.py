"""The checks of check.sh.

python check.py make MODEL         a random model (.venv, with tests/ on PYTHONPATH)
python check.py numbers MODEL      vLLM against transformers; speed (vLLM's environment)
python check.py training FOLDER     the training loop on GPU and CPU; speed (.venv, with tests/ on PYTHONPATH)
python check.py processes MODEL    a killed process gives its GPU back (vLLM's environment)
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LENGTH = 2048
FAILED = []


def check(name: str, holds: bool, detail: object = "") -> None:
    print(f"{'ok    ' if holds else 'FAILED'} {name} {detail}", flush=True)
    if not holds:
        FAILED.append(name)


def make(model: str) -> None:
    from support.tiny import make_model, make_world

    with tempfile.TemporaryDirectory() as folder:
        make_world(Path(folder))
        shape = {"hidden_size": 640, "intermediate_size": 1792, "num_hidden_layers": 12, "num_attention_heads": 10}
        make_model(Path(model), Path(folder) / "corpus.jsonl", initializer_range=0.05, **shape)


def numbers(model: str) -> None:
    """Scores and answers of both engines in both types, and what one request per document saves."""
    from langmerge.evaluation.engines.protocol import Generating, Scoring
    from langmerge.evaluation.engines.transformers import TransformersEngine
    from langmerge.evaluation.engines.vllm import VllmEngine

    source = random.Random(1)

    def tokens(count: int) -> list[int]:
        return [source.randrange(3, 390) for _ in range(count)]

    big = 500 if gpu() else 12
    letters = [Scoring(tokens(1000), [[token] for token in (5, 6, 7, 8)]) for _ in range(big)]
    words = [
        Scoring(tokens(source.randrange(20, 600)), [begun + tokens(9) for _ in range(3)])
        for begun in ([], tokens(3), tokens(200))
        for _ in range(big // 10)
    ]
    questions = [Generating(tokens(60), [], 64, 0.6, 0.9, 50, seed) for seed in range(big // 4)]
    table = []
    for dtype, allowed in (("float32", 1e-3), ("bfloat16", 0.2)):
        began = time.monotonic()
        engine = VllmEngine(model, dtype=dtype, max_length=LENGTH, gpu_memory_utilization=0.4 if gpu() else None)
        table.append((f"{dtype}: start of vLLM", time.monotonic() - began, "s"))
        hf = TransformersEngine(model, dtype=dtype, batch_size=8, max_length=LENGTH)
        print(engine.device, engine.versions)
        check(f"{dtype}: a device with a name", engine.device == hf.device, f"{engine.device}; {hf.device}")
        for name, asked in (("letters", letters), ("words", words)):
            engine.counts.clear()
            ours, seconds = timed(engine.score, asked)
            others, theirs = timed(hf.score, asked)
            table += [(f"{dtype}: {name}, vLLM", len(asked) / seconds, "documents/s")]
            table += [(f"{dtype}: {name}, hf", len(asked) / theirs, "documents/s")]
            off = max(
                abs(a[0] - b[0]) / len(choice)
                for own, x, y in zip(asked, ours, others, strict=True)
                for choice, a, b in zip(own.continuations, x, y, strict=True)
            )
            differs = f"differ by {off:.2g} per token at most"
            check(f"{dtype}: {name}, log-probabilities of vLLM and hf", off < allowed, differs)
            agree = sum(best(x) == best(y) for x, y in zip(ours, others, strict=True)) / len(asked)
            check(f"{dtype}: {name}, same choice", agree == 1 or dtype == "bfloat16", f"{100 * agree:.1f}%")
            if name == "letters":
                check(f"{dtype}: one request per document", engine.counts["requests"] == len(asked))
        alone = [Scoring(own.context, [choice]) for own in letters for choice in own.continuations]
        seconds = timed(engine.score, alone)[1]
        table += [(f"{dtype}: letters, a request per choice", len(letters) / seconds, "documents/s")]
        answers = engine.generate(questions)
        for name, other in (
            ("in another order", engine.generate(questions[::-1])[::-1]),
            ("a third of them", [*thirds(engine.generate(questions[::3]), answers)]),
        ):
            same = sum(a == b for a, b in zip(answers, other, strict=True)) / len(answers)
            check(f"{dtype}: same answers {name}", same == 1 or gpu() or dtype == "bfloat16", f"{100 * same:.1f}%")
        engine.close()
        del hf
    table.append(("memory of the host", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "GiB"))
    print("\n".join(f"| {name} | {value:.1f} {unit} |" for name, value, unit in table))


TRAINING = """
import json, sys
from pathlib import Path
from langmerge.training.loop import train
from langmerge.training.recipe import complete
train(Path(sys.argv[1]), complete(json.loads(sys.argv[2])), threads=4)
"""


def training(folder: str) -> None:
    """The loss of 20 steps on GPU and CPU, documents packed apart, and the speed of a model of 1.2
    billion weights.
    """
    from langmerge.overview.trainings import Shape
    from langmerge.training.tokenizer import texts, train_tokenizer
    from support.tiny import make_world

    where = Path(folder)
    make_world(where / "world", lines=4000)
    corpus = where / "world" / "corpus.jsonl"
    train_tokenizer(texts([corpus]), 400).save_pretrained(where / "tokenizer")
    shape = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
    recipe = {
        "tokenizer": str(where / "tokenizer"),
        "data": {str(corpus): 1},
        "learning_rate": 1e-3,
        "dtype": "float32",
    }
    small = {**recipe, "init": {"model_type": "llama", **shape}, "sequence_length": 256, "batch_size": 8, "steps": 20}
    wide = {"model_type": "llama", **shape, "hidden_size": 256}
    for name, more, most in (
        ("documents joined", {"documents": "joined"}, 1e-3),
        ("documents separate", {"documents": "separate"}, 1e-3),
        ("AdamW in 8 bits", {"init": wide, "optimizer": "adamw_8bit"}, 1e-2),
    ):
        found = [history(where / f"{name} {device}", {**small, **more}, device) for device in ("cpu", "gpu")]
        off = max(abs(one["loss"] - other["loss"]) for one, other in zip(*found, strict=True))
        check(f"training, {name}: 20 losses on GPU and CPU", off < most, f"differ by {off:.2g} at most")
    if not gpu():
        print("left out: the speed of a training needs a GPU")
        return
    one_b = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    one_b |= {"num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True, "max_position_embeddings": 8192}
    large = {"init": {"model_type": "llama", **one_b}, "sequence_length": 8192, "batch_size": 8, "steps": 12}
    large |= {"micro_batch": 1, "recompute": True, "dtype": "bfloat16", "save_minutes": 600}
    for documents in ("joined", "separate"):
        lines = history(where / f"1b-{documents}", {**recipe, **large, "documents": documents}, "gpu")[2:]
        speed = sum(line["tokens_per_second"] for line in lines) / len(lines)
        operations = Shape.of({**one_b, "vocab_size": 400}).flops(8192) * speed / 1e12
        print(
            f"| 1B, 8192, {documents} | {speed:.0f} tokens/s, {operations:.0f} TFLOP/s, {lines[-1]['memory']:.1f} GB |"
        )


def history(output: Path, recipe: dict, device: str) -> list[dict]:
    """Train in a process of its own, on the GPU if `device` says so, and return the steps."""
    hidden = {"CUDA_VISIBLE_DEVICES": "0" if device == "gpu" else ""}
    subprocess.run(
        [sys.executable, "-c", TRAINING, str(output), json.dumps(recipe)], check=True, env={**os.environ, **hidden}
    )
    return [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]


def thirds(some: list, everything: list) -> list:
    """All answers, every third of them replaced."""
    return [some[number // 3] if number % 3 == 0 else own for number, own in enumerate(everything)]


def timed(work, argument) -> tuple[list, float]:
    began = time.monotonic()
    return work(argument), time.monotonic() - began


def best(scores: list[tuple[float, bool]]) -> int:
    return max(range(len(scores)), key=lambda number: scores[number][0])


def gpu() -> int:
    """How many GPUs there are."""
    import torch

    return torch.cuda.device_count()


ENDLESS = """
import sys
from langmerge.evaluation.engines.protocol import Generating
from langmerge.evaluation.engines.vllm import VllmEngine
if __name__ == "__main__":
    engine = VllmEngine(sys.argv[1], max_length=1024, tensor_parallel_size=int(sys.argv[2]))
    print("ready", flush=True)
    while True:
        engine.generate([Generating([5, 6, 7], [], 500, 0, 1, 0, None)] * 8)
"""


def processes(model: str) -> None:
    """Kill this process or one of its children; all end, and nothing holds a GPU."""
    for size in (1, 2):
        if size == 2 and gpu() == 1:
            print("left out: tensor parallelism needs two GPUs")
            continue
        for victim in ["parent", "engine"][:size]:
            with tempfile.TemporaryDirectory() as folder:
                script = Path(folder) / "endless.py"
                script.write_text(ENDLESS)
                bound = {} if gpu() else {"VLLM_CPU_OMP_THREADS_BIND": "|".join("01"[:size])}
                command = [sys.executable, "-P", str(script), model, str(size)]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **bound})
                assert b"ready" in process.stdout.readline()
                time.sleep(5)
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                workers = [own for own in children if "VLLM" in Path(f"/proc/{own}/comm").read_text()]
                os.kill(process.pid if victim == "parent" else int(workers[-1]), signal.SIGKILL)
                status = process.wait(60)
                deadline = time.monotonic() + 30
                while (
                    left := [*filter(alive, children), *holders(process.pid, children)]
                ) and time.monotonic() < deadline:
                    time.sleep(0.5)
                check(f"{size} processes, {victim} killed", status != 0 and not left, f"status {status}, left {left}")


def alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def holders(process: int, children: list[str]) -> list[str]:
    """Those of the processes that hold memory of a GPU."""
    if not gpu():
        return []
    command = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [own for own in found if own in (str(process), *children)]


if __name__ == "__main__":
    {"make": make, "numbers": numbers, "processes": processes, "training": training}[sys.argv[1]](sys.argv[2])
    sys.exit(f"FAILED: {json.dumps(FAILED)}" if FAILED else 0)
