"""A training's folder, beside the model that it makes. Light: `langmerge status` looks into it.

record.json   the recipe and the hashes of what the training reads
model/        configuration, generation settings and tokenizer of the model
data/         corpora that were tokenised for this training
step-N/       a checkpoint after N steps (torch.distributed.checkpoint); the last two are kept
history.jsonl a line per step; legs.jsonl: one per start
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from langmerge.files import glob_escape

RECORD, MODEL, HISTORY = "record.json", "model", "history.jsonl"

TAIL = 4096
"""Bytes at the end of a history that hold its last step."""


def training_folder(output: Path, identity: dict[str, Any]) -> Path:
    """The folder of a training, whose name depends on what determines its weights."""
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    return output.with_name(f".{output.name}.training-{key}")


def training_folders(output: Path) -> list[Path]:
    """The folders of trainings of this output that are not exported yet, the latest last."""
    found = output.parent.glob(f".{glob_escape(output.name)}.training-*")
    return sorted(found, key=lambda path: path.stat().st_mtime)


def steps_saved(folder: Path) -> dict[int, Path]:
    """The complete checkpoints by step, ascending."""
    found = {int(path.name.removeprefix("step-")): path for path in folder.glob("step-*") if path.suffix == ""}
    return dict(sorted(found.items()))


def last_step(folder: Path) -> dict[str, Any] | None:
    """The last line that a training has noted of a step; None before the first."""
    file = folder / HISTORY
    if not file.is_file():
        return None
    with file.open("rb") as lines:
        lines.seek(max(0, file.stat().st_size - TAIL))
        tail = lines.read().splitlines()
    found = [line for line in tail if line.startswith(b'{"step"') and b'"loss"' in line and line.endswith(b"}")]
    return json.loads(found[-1]) if found else None
