"""Corpora of a few hundred documents, through the steps of `langmerge corpus`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from langmerge.corpora.clean import clean
from langmerge.corpora.select import select
from langmerge.grid.corpora import CONTAMINATION, DEFAULTS, SOURCE
from support.texts import PARAGRAPHS

WORDS = sorted({word for text in PARAGRAPHS.values() for word in text.split()})


def texts(count: int, seed: int = 1, language: str = "eu") -> list[str]:
    """Different texts of 20 to 200 words."""
    draw = random.Random(f"{seed} {language}")
    return [" ".join(draw.choices(WORDS, k=draw.randint(20, 200))) + "." for _ in range(count)]


def settings(**more: Any) -> dict[str, Any]:
    """A corpus's settings, as `read_corpus` completes them."""
    return {**DEFAULTS, "language": "eu", "source": SOURCE, "contamination": CONTAMINATION, "filters": [], **more}


def write(file: Path, documents: Iterable[str]) -> Path:
    """Documents as JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
    return file


def cleaned(output: Path, files: Sequence[Path], processes: int = 1, key: str = "k", **more: Any) -> dict[str, Any]:
    """`clean`, and its counts."""
    return clean(output, list(files), settings(**more), ["eta", "dute", "zen", "dira"], processes, key, "own.yaml")


def selected(clean: Path, output: Path, tokens_of: Any = None, **more: Any) -> dict[str, Any]:
    """`select`, and its counts."""
    return select(clean, output, settings(**more), tokens_of, "own.yaml")


def read(folder: Path) -> list[str]:
    """The texts of a folder's files, in their order."""
    return [text for file in sorted(folder.glob("*.parquet")) for text in pq.read_table(file)["text"].to_pylist()]
