"""Run lm-eval tasks on one loaded model, one result file a (task, seed), and gather them into one sealed result."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# Compute nodes have no network; every model and data set is a local file by now (DESIGN, invariant 5).
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
# lm-eval would start a pool of processes for each bootstrap; ours are small.
os.environ.setdefault("DISABLE_MULTIPROC", "1")

import lm_eval
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager
from tqdm import tqdm
from transformers import set_seed

from common import VERSION, UserError, write_json

logger = logging.getLogger(__name__)
# lm-eval explains itself at length for every task; what it warns of here (few-shots, generation settings) is what the config asks for.
logging.getLogger("lm_eval").setLevel(logging.ERROR)

SEMANTICS = 1
"""Part of every result's key: raise it when a change in this package changes what a number means."""

BOOTSTRAP = 100
"""Resamples for the standard error of corpus metrics (BLEU); lm-eval's default of 100,000 takes minutes a task."""

FEWSHOT_SEED = 1234
"""lm-eval's default: which examples stand in a prompt does not depend on the seed of the sampling."""

IN_PERCENT = {"bleu", "chrf", "ter"}
"""Metrics that are on 0-100 as they come; the others are shares."""


@dataclass(frozen=True)
class Unit:
    """One task with one seed: the smallest piece of work, and of resuming.

    `entry` is a task's entry of the configuration: task, language, measure, metric, fewshot, generation, chat_template.
    """

    entry: dict[str, Any]
    seed: int | None

    def key(self, model_key: str, chat_template: bool) -> str:
        """Hash of all that determines the result; `chat_template` is what the run says of the model, the entry may say otherwise."""
        parts = {"semantics": SEMANTICS, "model": model_key, "chat": chat_template, "entry": self.entry, "seed": self.seed}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    def name(self) -> str:
        return self.entry["task"] + ("" if self.seed is None else f".seed{self.seed}")


@dataclass(frozen=True)
class Evaluation:
    """All tasks of one shard on one model.

    Attributes:
        model: folder of a Hugging Face checkpoint.
        tasks: entries, each with task, language, measure, metric and optionally fewshot, seeds, generation, chat_template.
        include: folders searched for task YAMLs, besides nothing: lm-eval's own index takes seconds to build.
        parts: folder of the units' results; samples: folder of their prompts and answers, or None.
        key: identity of the weights; None hashes the model's files.
        chat_template: apply it, with few-shots as turns, to tasks that do not say otherwise (instructed models), or to none (base models).
        backend: lm-eval's model arguments; `backend` names the class (hf).
    """

    model: Path
    tasks: list[dict[str, Any]]
    include: list[str]
    parts: Path
    samples: Path | None
    key: str | None
    chat_template: bool
    backend: dict[str, Any]

    def run(self, result: Path, provenance: dict[str, Any]) -> None:
        """Evaluate what is not yet done and write `result`.

        Raises:
            UserError: a task failed (the others are done and kept); the message names it.
        """
        units = list(self.units())
        todo = [unit for unit in units if not self.part(unit).is_file()]
        if len(todo) < len(units):
            print(f"{len(units) - len(todo)} of {len(units)} tasks are done already.", file=sys.stderr)
        failed = {}
        for unit in tqdm(todo, unit="task", desc=self.model.name, disable=None):
            try:
                self.evaluate(unit)
            except Exception as error:
                logger.exception("%s failed", unit.name())
                failed[unit.name()] = f"{type(error).__name__}: {error}"
        if failed:
            details = "\n  ".join(f"{name}: {error}" for name, error in failed.items())
            raise UserError(
                f"{len(failed)} of {len(units)} tasks failed on {self.model}; the finished ones are kept and will not run again:\n  {details}"
            )
        parts = [json.loads(self.part(unit).read_text(encoding="utf-8")) for unit in units]
        write_json(result, {**provenance, **self.provenance(), "scores": parts})

    def units(self) -> Iterator[Unit]:
        for task in self.tasks:
            entry = {name: value for name, value in task.items() if name != "seeds"}
            for seed in task.get("seeds") or [None]:
                yield Unit(entry, seed)

    def part(self, unit: Unit) -> Path:
        return self.parts / f"{unit.name()}.{unit.key(self.model_key, self.chat_template)}.json"

    @cached_property
    def model_key(self) -> str:
        if self.key:
            return self.key
        digest = hashlib.sha256()
        for path in sorted(self.model.glob("*")):
            if path.suffix in {".safetensors", ".json", ".jinja"} and path.name != "langmerge.json":
                digest.update(path.name.encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    @cached_property
    def lm(self) -> Any:
        arguments = {"device": "cpu", **self.backend}
        return get_model(arguments.pop("backend", "hf"))(pretrained=str(self.model), **arguments)

    @cached_property
    def task_manager(self) -> TaskManager:
        return TaskManager(include_path=list(self.include), include_defaults=False)

    def evaluate(self, unit: Unit) -> None:
        """Evaluate one unit and write its samples, then its result."""
        entry = unit.entry
        seed = FEWSHOT_SEED if unit.seed is None else unit.seed
        chat_template = self.chat_template and entry.get("chat_template", True)
        # Not lm_eval.simple_evaluate: it runs `pip list` for its report after every call, which takes longer than a small task.
        loaded = self.task_manager.load([entry["task"]])
        task = loaded["tasks"][entry["task"]]
        task.set_config(key="num_fewshot", value=entry.get("fewshot", 0))
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
        if entry.get("generation"):
            task.set_config(key="generation_kwargs", value=dict(entry["generation"]), update=True)
        set_seed(seed)
        results = lm_eval.evaluate(
            lm=self.lm,
            task_dict=loaded,
            apply_chat_template=chat_template,
            fewshot_as_multiturn=chat_template,
            bootstrap_iters=BOOTSTRAP,
            log_samples=True,
        )
        numbers = results["results"][entry["task"]]
        if f"{entry['metric']},none" not in numbers:
            found = sorted(name.removesuffix(",none") for name in numbers if name.endswith(",none") and "_stderr" not in name)
            raise UserError(f"{entry['task']} has no metric {entry['metric']!r}; it has {', '.join(found)}. Mend `metric:` in the config.")
        stderr = numbers.get(f"{entry['metric']}_stderr,none")
        factor = 1.0 if entry["metric"] in IN_PERCENT else 100.0
        samples = results["samples"][entry["task"]]
        part = self.part(unit)
        if self.samples:
            write_samples(self.samples / f"{part.stem}.jsonl.gz", samples)
        write_json(
            part,
            {
                "key": unit.key(self.model_key, self.chat_template),
                "language": entry["language"],
                "measure": entry["measure"],
                "task": entry["task"],
                "metric": entry["metric"],
                "seed": unit.seed,
                "value": factor * numbers[f"{entry['metric']},none"],
                "stderr": factor * stderr if isinstance(stderr, float) else None,
                "n": count(samples, entry["metric"]),
            },
        )

    def provenance(self) -> dict[str, Any]:
        """Where the numbers come from: the model's own record (recipe, sources), the settings and the versions."""
        record = self.model / "langmerge.json"
        return {
            "model": json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {"path": str(self.model)},
            "model_key": self.model_key,
            "chat_template": self.chat_template,
            "backend": self.backend,
            "tasks": self.tasks,
            "versions": {"langmerge": VERSION, "lm_eval": lm_eval.__version__, "evaluation": SEMANTICS},
        }


def count(samples: list[dict[str, Any]], metric: str) -> int:
    """Number of things the metric is a mean over: documents, or instructions where each document has a list of verdicts."""

    def verdicts(value: Any) -> int:
        return len(value) if isinstance(value, list) and all(isinstance(item, bool) for item in value) else 1

    return sum(verdicts(sample.get(metric)) for sample in samples)


def write_samples(path: Path, samples: list[dict[str, Any]]) -> None:
    """Write samples as gzipped JSON lines, with no time stamp, so that the same answers give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as archive:
        for sample in samples:
            archive.write((json.dumps(sample, ensure_ascii=False, default=str) + "\n").encode())
