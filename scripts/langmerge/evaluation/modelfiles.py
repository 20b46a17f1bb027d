"""The files of a model's folder that its answers depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.evaluation.units import digest
from langmerge.files import sha256
from langmerge.weights import weight_files

RECORD = "langmerge.json"
"""The record of a model that langmerge made: its recipe, its sources, its key."""

PATTERNS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "*.model",
    "*.tiktoken",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "additional_chat_templates/*",
    "*.py",
)
"""What answers depend on besides the weights.

Configuration, tokenizer, chat templates and code of the model's own.
"""

OLD_WEIGHTS, OLD_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


def check_model(folder: Path, key: str | None) -> None:
    """Refuse a folder that holds no model, two models, or another one than is expected.

    Args:
        key: identity of the model that is expected, or None for any.

    Raises:
        UserError: the message says what was found and what to do.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json: give the folder of a model in Hugging Face format.")
    weights(folder)
    record = folder / RECORD
    found = json.loads(record.read_text(encoding="utf-8")).get("key") if record.is_file() else None
    if None not in (key, found) and key != found:
        raise UserError(
            f"{folder} holds the model {found} ({RECORD}: key), expected {key} (--key): it was made from other settings. "
            f"Delete the folder, and the next run makes the model again."
        )


def files_key(folder: Path, held: list[Path] | None = None) -> str:
    """Hash of the files that answers depend on: `held`, by default the weights, and others.

    The folder's name, dates, and what no answer depends on do not matter.

    Raises:
        UserError: there are no weights, or two sets of them.
    """
    others = {path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()}
    files = sorted({*(held or weights(folder)), *others})
    return digest({path.relative_to(folder).as_posix(): sha256(path) for path in files})


def judge_content(judge: Mapping[str, Any]) -> dict[str, str]:
    """{"judge_content": hash of the files of a judge that is a model on disk}; {} for other judges.

    Raises:
        UserError: there is no such folder, or it holds no weights.
    """
    if "path" not in judge:
        return {}
    if not Path(judge["path"]).is_dir():
        raise UserError(
            f"judge.path: {judge['path']}: no such folder. Give that of a text classifier in Hugging Face format."
        )
    return {"judge_content": files_key(Path(judge["path"]))}


def weights(folder: Path) -> list[Path]:
    """The files of the weights: safetensors, which transformers prefers, or else PyTorch's.

    Raises:
        UserError: there are none, or two sets of them.
    """
    old = sorted(folder.glob("*.bin"))
    if any(folder.glob("*.safetensors")) or not old:
        return weight_files(folder)
    if (folder / OLD_WEIGHTS).is_file() and (folder / OLD_INDEX).is_file():
        raise UserError(
            f"{folder} holds two sets of weights: {OLD_WEIGHTS} and the shards of {OLD_INDEX}. Delete the files of the one "
            f"that is out of date."
        )
    return old
