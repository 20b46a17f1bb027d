"""What an evaluation is made of: units, each one task with one seed. No torch and no lm-eval: `snakemake status` counts them too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

SEMANTICS = 2
"""Part of every result's key: raise it when a change in this package changes what a number means."""

HARDWARE = {
    "batch_size",
    "device",
    "parallelize",
    "tensor_parallel_size",
    "data_parallel_size",
    "gpu_memory_utilization",
    "max_num_seqs",
}
"""Settings of a backend that say how fast it is, and not what it answers: finished results stay when they change."""


def answering(backend: dict[str, Any]) -> dict[str, Any]:
    """A backend's settings without those of the hardware."""
    return {name: value for name, value in backend.items() if name not in HARDWARE}


@dataclass(frozen=True)
class Unit:
    """One task with one seed: the smallest piece of work, and of resuming.

    Attributes:
        entry: a task's entry of the configuration: task, language, measure, metric, fewshot, generation, chat_template, flores, data.
        seed: of its sampling, or None.
        sources: names of the fetched data sets that it reads, with their revisions.
    """

    entry: dict[str, Any]
    seed: int | None
    sources: list[str]

    def key(self, model_key: str, chat_template: bool, backend: dict[str, Any]) -> str:
        """Hash of all that determines the result; `chat_template` is what the run says of the model, the entry may say otherwise."""
        parts = {
            "semantics": SEMANTICS,
            "model": model_key,
            "chat": chat_template,
            "entry": self.entry,
            "seed": self.seed,
        }
        parts |= {"backend": answering(backend)}
        parts |= {"sources": self.sources} if self.sources else {}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    def name(self) -> str:
        return self.entry["task"] + ("" if self.seed is None else f".seed{self.seed}")

    def file(self, *model: Any) -> str:
        """Name of the file of its result; `model` as for `key`."""
        return f"{self.name()}.{self.key(*model)}.json"


def units(tasks: Iterable[dict[str, Any]], sources: Callable[[dict[str, Any]], list[str]]) -> Iterator[Unit]:
    """The units of tasks' entries; `sources` says which fetched data sets an entry reads."""
    for task in tasks:
        entry = {name: value for name, value in task.items() if name != "seeds"}
        for seed in task.get("seeds") or [None]:
            yield Unit(entry, seed, sources(entry))
