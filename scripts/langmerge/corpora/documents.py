"""Documents between the steps: Parquet files of texts, and what is known of each text.

A document is known by its hash. Selection sorts by it, so that nothing depends on files or
processes. It has 64 bits: among ten million texts, two different ones share a hash in one of
370,000 corpora, and then count as duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.writers import ParquetWriter

from langmerge.words import count_words

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("hash", pa.uint64()),
        ("words", pa.uint32()),
        ("characters", pa.uint32()),
        ("bytes", pa.uint32()),
    ]
)

SIZES = ("words", "characters", "bytes")


def text_hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def row(text: str, language: str) -> dict[str, Any]:
    """What the files have of a text; words are ICU's that contain a letter or a digit."""
    sizes = count_words(text, language), len(text), len(text.encode())
    return {"text": text, "hash": text_hash(text), **dict(zip(SIZES, sizes, strict=True))}


class Writer(ParquetWriter):
    """Writes the documents of rank n into <n>.parquet."""

    def __init__(self, folder: Path, language: str) -> None:
        super().__init__(
            str(folder),
            "${rank}.parquet",
            compression="zstd",
            schema=SCHEMA,
            max_file_size=-1,
            use_content_defined_chunking=False,
        )
        self.language = language
        self.adapter = self.as_row

    def as_row(self, document: Document) -> dict[str, Any]:
        return row(document.text, self.language)


@dataclass(frozen=True)
class Index:
    """What is known of the documents of a folder, in the order of its files.

    Attributes:
        files: the Parquet files.
        columns: arrays of shape [documents]: `hash`, SIZES, and `file`, the number of the file.
    """

    files: list[Path]
    columns: dict[str, np.ndarray]

    @classmethod
    def of(cls, folder: Path) -> Index:
        """Read everything but the texts."""
        files = sorted(folder.glob("*.parquet"))
        tables = [pq.read_table(file, columns=["hash", *SIZES]) for file in files]
        columns = {
            name: np.concatenate([table[name].to_numpy() for table in tables] or [np.zeros(0, np.uint64)])
            for name in ("hash", *SIZES)
        }
        columns["file"] = np.repeat(np.arange(len(files)), [len(table) for table in tables])
        return cls(files, columns)

    def __len__(self) -> int:
        return len(self.columns["hash"])

    def totals(self, wanted: np.ndarray) -> dict[str, int]:
        """Number of documents and sums of SIZES of some documents (an array of indices or a mask)."""
        sizes = {name: int(self.columns[name][wanted].sum(dtype=np.uint64)) for name in SIZES}
        return {"documents": len(self.columns["hash"][wanted]), **sizes}

    def tables(self) -> Iterator[tuple[slice, pa.Table]]:
        """Each file's documents, and which indices they have."""
        start = 0
        for number, file in enumerate(self.files):
            stop = start + int((self.columns["file"] == number).sum())
            yield slice(start, stop), pq.read_table(file, schema=SCHEMA)
            start = stop
