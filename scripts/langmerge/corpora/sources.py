"""Reading documents: JSON lines, Parquet and plain text, also compressed with gzip or zstd.

datatrove's readers skip what they cannot read and count it nowhere, do not read plain text, and
need packages for zstd. Here every line is a document or a counted drop.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from langmerge.errors import UserError

COMPRESSED = (".gz", ".zst")
ENDINGS = (".jsonl", ".parquet", ".txt")

UNREADABLE, NO_TEXT = "not JSON in UTF-8", "no text"
"""Reasons of documents that are dropped while reading."""

ROWS_AT_ONCE = 1000


class Source(PipelineStep):
    """Yields the documents of one file: rank n reads the n-th.

    Attributes:
        text, url: columns of JSON lines and Parquet; `url` may be None.
        split: what a document of a .txt file is: the file, a part between blank_lines, or a line.
    """

    type, name = "reader", "read"

    def __init__(self, files: list[Path], text: str, url: str | None, split: str) -> None:
        super().__init__()
        self.files = files
        self.text = text
        self.url = url
        self.split = split

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        file = self.files[rank]
        kept, columns = 0, set()
        for number, record in enumerate(records(file, self.text, self.url, self.split)):
            self.stat_update("total")
            columns |= {*record} if isinstance(record, dict) else set()
            text = record.get(self.text) if isinstance(record, dict) else None
            reason = UNREADABLE if record is None or not is_utf8(text) else NO_TEXT if not has_text(text) else None
            if reason:
                self.stat_update("dropped", f"dropped_{reason}")
                continue
            kept += 1
            url = record.get(self.url) if self.url else None
            yield Document(text, f"{rank}/{number}", metadata={"url": url} if isinstance(url, str) else {})
        if not kept:
            raise UserError(
                f"{file}: no document has a text in {self.text!r}; its keys are {sorted(columns) or 'none'}. "
                "Correct `text:` in the corpus's file, or leave the file out."
            )


def has_text(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())


def is_utf8(text: Any) -> bool:
    """Whether a text can be written: JSON may hold half a surrogate pair."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def records(file: Path, text: str, url: str | None, split: str) -> Iterator[Any]:
    """The records of a file as {column: value}; None for a line that is not JSON.

    Raises:
        UserError: it cannot be read at all.
    """
    try:
        match ending(file):
            case ".jsonl":
                yield from json_lines(file)
            case ".parquet":
                yield from rows(file, [text, *([url] if url else [])])
            case ".txt":
                yield from ({text: part} for part in parts(file, split))
    except (OSError, EOFError, pa.ArrowException) as error:
        raise UserError(f"{file} cannot be read: {error}. Fetch or copy it again.") from error


def ending(file: Path) -> str:
    """Which of ENDINGS a file's name has, beside that of a compression.

    Raises:
        UserError: none of them.
    """
    name = file.with_suffix("") if file.suffix in COMPRESSED else file
    if name.suffix not in ENDINGS:
        raise UserError(
            f"{file}: expected a name in {', '.join(ENDINGS)}, with {' or '.join(COMPRESSED)} behind it or not."
        )
    return name.suffix


def opened(file: Path) -> io.BufferedReader:
    """A file's bytes, decompressed as its name says."""
    return io.BufferedReader(pa.input_stream(str(file), compression="detect"))


def json_lines(file: Path) -> Iterator[Any]:
    with opened(file) as lines:
        for line in lines:
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError:
                    yield None


def rows(file: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(file) as parquet:
        known = parquet.schema_arrow.names
        if not {*columns} <= {*known}:
            raise UserError(
                f"{file}: it has the columns {', '.join(known)}, expected {', '.join(columns)}. "
                "Correct `text:` or `url:` in the corpus's file."
            )
        for batch in parquet.iter_batches(ROWS_AT_ONCE, columns=columns):
            yield from batch.to_pylist()


def parts(file: Path, split: str) -> Iterable[str]:
    """The documents of a plain text; line breaks become line feeds."""
    with io.TextIOWrapper(opened(file), encoding="utf-8") as text:
        try:
            if split == "file":
                yield text.read()
            elif split == "lines":
                yield from filter(str.strip, text)
            else:
                yield from paragraphs(text)
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is not UTF-8: {error}. Save it in that encoding.") from error


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """What stands between blank lines."""
    part: list[str] = []
    for line in lines:
        if line.strip():
            part.append(line)
        elif part:
            yield "".join(part)
            part = []
    if part:
        yield "".join(part)
