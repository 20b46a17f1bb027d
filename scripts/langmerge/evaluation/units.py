"""What an evaluation is made of: units, each one task with one seed.

No torch and no lm-eval: a dry run and `langmerge status` need the units' names too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.evaluation.settings import DATE
from langmerge.files import glob_escape
from langmerge.semantics import SEMANTICS

LOCK = Path(__file__).parents[3] / "envs" / "requirements-vllm.lock"

SAMPLING = {"temperature": 0.0, "top_p": 1.0, "top_k": 0}
"""How answers are drawn where neither the task nor its entry says: greedily, of all tokens."""

HARDWARE = {
    "batch_size",
    "device",
    "parallelize",
    "tensor_parallel_size",
    "data_parallel_size",
    "gpu_memory_utilization",
    "max_num_seqs",
}
"""Settings of a backend that change how fast it answers, and not what.

Finished results stay valid when they change.
"""


def versions(backend: Mapping[str, Any]) -> dict[str, str]:
    """The version of a backend whose answers are not the same in all versions.

    That is vLLM: its kernels and scheduling change. The number is that of the package which is
    installed here or, where a run is planned without it, of the lock file of its environment.
    """
    return {"vllm": vllm_version(LOCK)} if backend.get("backend") == "vllm" else {}


@cache
def vllm_version(lock: Path) -> str:
    """The version that is installed, else the one in a lock file; looked up once, for thousands of
    units.
    """
    try:
        return version("vllm").split("+")[0]
    except PackageNotFoundError:
        locked = (
            re.search(r"^vllm==([^\s;+]+)", lock.read_text(encoding="utf-8"), re.MULTILINE) if lock.is_file() else None
        )
        return locked[1] if locked else "unknown"


def answering(backend: Mapping[str, Any]) -> dict[str, Any]:
    """A backend's settings without those of the hardware."""
    return {name: value for name, value in backend.items() if name not in HARDWARE}


@dataclass(frozen=True)
class Unit:
    """One task with one seed: the smallest piece of work that is kept when an evaluation is killed.

    Attributes:
        entry: a task's entry of the configuration: task, language, measure, metric, fewshot,
            generation, chat_template, flores, prompts, judge, and `content`, the hash of a task's
            own files (`taskfiles.content_key`).
        seed: of its sampling, or None.
        sources: names of the fetched data sets that it reads, with their revisions.
    """

    entry: dict[str, Any]
    seed: int | None
    sources: list[str]

    def fingerprint(self, backend: Mapping[str, Any]) -> str:
        """Hash of all that determines the number, except the model.

        Numbers of two models may be compared if they have the same fingerprint. The settings of
        sampling are complete: what a task's own files say is in `content`.
        """
        generation = self.entry.get("generation") or {}
        stages = ("evaluate", "judge") if "judge" in self.entry else ("evaluate",)
        return digest(
            {
                "semantics": {stage: SEMANTICS[stage] for stage in stages},
                "entry": self.entry,
                "seed": self.seed,
                "sources": self.sources,
                "backend": answering(backend),
                "versions": versions(backend),
                "sampling": {**SAMPLING, **{name: generation[name] for name in SAMPLING if name in generation}},
                "date": DATE,
            }
        )

    def key(self, model_key: str, chat_template: bool, backend: Mapping[str, Any]) -> str:
        """Hash of all that determines the number.

        Args:
            model_key: identity of the model's weights.
            chat_template: what the run says of the model; the entry may say otherwise.
            backend: settings of `backends.load`.
        """
        return digest({"fingerprint": self.fingerprint(backend), "model": model_key, "chat": chat_template})

    def name(self) -> str:
        """The task's name, and the seed where there is one."""
        return self.entry["task"] + ("" if self.seed is None else f".seed{self.seed}")

    def file(self, model_key: str, chat_template: bool, backend: Mapping[str, Any]) -> str:
        """Name of the file of its result; see `key`."""
        return f"{self.name()}.{self.key(model_key, chat_template, backend)}.json"


def units(tasks: Iterable[dict[str, Any]], sources: Callable[[dict[str, Any]], list[str]]) -> Iterator[Unit]:
    """The units of tasks' entries; `sources` says which fetched data sets an entry reads.

    Raises:
        UserError: a task's name, which is part of the names of files, could lead out of their
            folder.
    """
    for task in tasks:
        if not SAFE_NAME.fullmatch(task["task"]):
            raise UserError(
                f"the task's name {task['task'][:200]!r} is part of the names of files. Use letters, digits, ., _, + and -, at most 150."
            )
        entry = {name: value for name, value in task.items() if name != "seeds"}
        for seed in task.get("seeds") or [None]:
            yield Unit(entry, seed, sources(entry))


SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,149}")
"""A task's name that can be part of a file's name."""


BLOCK = ".block-"
"""What stands between a unit's name and the name of one of its blocks (blocks.py)."""


def blocks(part: Path) -> list[Path]:
    """The sealed files of a unit's blocks; `part` is the file of its result."""
    return sorted(part.parent.glob(f"{glob_escape(part.stem)}{BLOCK}*.json"))


def digest(value: Any) -> str:
    """Twelve hexadecimal digits of a value's SHA-256."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
