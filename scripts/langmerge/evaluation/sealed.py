"""Sealed JSON files: results, and the parts that they are gathered from.

Each carries a checksum of its content.

No torch and no lm-eval: `langmerge collect` and `langmerge report` read these files too.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.files import write_json

REMEDY = "`langmerge forget RUN CELL` discards it, and the next run makes it again."


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write a dictionary as JSON, whole or not at all, with its checksum as `checksum`."""
    plain = json.loads(json.dumps(value))  # as it will be read: keys are strings, tuples are lists
    write_json(path, {**plain, "checksum": checksum(plain)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Return what `write_sealed` wrote, without the checksum.

    Raises:
        UserError: the file is missing, cut, edited, or has no checksum.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Run `snakemake` to make it.") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: it is not JSON ({error}). {REMEDY}") from None
    if not isinstance(value, dict) or "checksum" not in value:
        raise UserError(f"{path} has no checksum, so `langmerge evaluate` did not write it. {REMEDY}")
    written = value.pop("checksum")
    if written != checksum(value):
        raise UserError(f"{path} was changed after it was written: its checksum does not match its content. {REMEDY}")
    return value


def checksum(value: dict[str, Any]) -> str:
    """SHA-256 of a dictionary as canonical JSON: sorted keys, no blanks, ASCII."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
