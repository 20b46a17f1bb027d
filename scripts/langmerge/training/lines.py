"""Training text as JSON lines.

A line is a document, {"text": ...}, or a conversation,
{"messages": [{"role": ..., "content": ...}, ...]}.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langmerge.errors import UserError


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the documents and conversations of a .jsonl or .jsonl.gz file; skip blank lines.

    Raises:
        UserError: the file is missing or empty, or a line is neither (the message has its number).
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Training text is JSON lines, one file for each key of `data`.")
    empty = True
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                empty = False
                yield parse(line, f"{path}, line {number}")
    if empty:
        raise UserError(f'{path}: the file is empty. Expected one {{"text": ...}} or {{"messages": [...]}} per line.')


def parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON in UTF-8: {error}") from error
    if not is_document(record) and not is_conversation(record):
        found = f"keys {sorted(record)}" if isinstance(record, dict) else type(record).__name__
        raise UserError(
            f'{where}: expected {{"text": "..."}} or {{"messages": [{{"role": "user", "content": "..."}}, ...]}}, '
            f"with strings as values; found {found}."
        )
    return record


def is_document(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("text"), str)


def is_conversation(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and isinstance(messages := record.get("messages"), list)
        and len(messages) > 0
        and all(
            isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
            for m in messages
        )
    )
