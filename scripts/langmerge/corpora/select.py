"""The second step: which clean documents are trained on, and which are held out.

Documents are sorted by their hash. The first ones are held out, the next ones are selected until
the budget is spent. So neither the order of files nor the number of processes matters, a larger
budget contains the smaller one, and the held-out documents are the same for every budget.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from langmerge.corpora.clean import COUNTS, DOCUMENTS, KEPT
from langmerge.corpora.documents import SCHEMA, Index
from langmerge.corpora.executor import key_of
from langmerge.errors import UserError
from langmerge.files import new_directory, write_json

TRAIN, HELD_OUT = "train", "held_out"
"""The folders of selected documents."""

SHARD_BYTES = 256_000_000
"""Text of a file, which is sorted in memory. Files hold consecutive hashes: a larger budget adds
files and leaves those of the smaller one as they are, but for its last one.
"""

MARGIN = 1.02
"""How many more documents than a sample suggests are tokenised to find where the tokens end."""

SAMPLE = 2000

Counter = Callable[[list[str]], Iterable[int]]
"""The number of tokens of each text, as a shard holds it."""


def select(clean: Path, output: Path, corpus: dict[str, Any], tokens_of: Counter | None, source: str) -> dict[str, Any]:
    """Write the held-out and the selected documents, sorted by hash, and counts.json.

    Args:
        clean: what `clean` wrote.
        corpus: the settings of the corpus.
        tokens_of: counts tokens, for a budget of tokens.
        source: how messages call the corpus's file.

    Returns:
        {train, held_out: totals; budget; reached: whether there was enough text for it}.

    Raises:
        UserError: more than half of the documents would be held out.
    """
    index = Index.of(clean / DOCUMENTS)
    kept = np.flatnonzero(np.load(clean / KEPT))
    ranked = kept[np.argsort(index.columns["hash"][kept], kind="stable")]
    wanted = corpus["held_out"]
    if 2 * wanted > len(ranked):
        raise UserError(
            f"{source}: held_out: {wanted} of {len(ranked)} clean documents. Hold out at most half of them."
        )
    held_out, rest = ranked[:wanted], ranked[wanted:]
    size, reached = within_budget(index, rest, corpus["budget"], tokens_of)
    if not size:
        raise UserError(f"{source}: budget: {corpus['budget']} is less than one document. Raise it.")
    with new_directory(output) as folder:
        write_documents(folder / HELD_OUT, index, held_out)
        write_documents(folder / TRAIN, index, rest[:size])
        counts = {
            "clean": json.loads((clean / COUNTS).read_text(encoding="utf-8")),
            TRAIN: index.totals(rest[:size]),
            HELD_OUT: index.totals(held_out),
            "budget": corpus["budget"],
            "reached": reached,
            # Names the selection by its content, for the steps that follow.
            "content": key_of(*(digest(index.columns["hash"][part]) for part in (rest[:size], held_out))),
        }
        write_json(folder / COUNTS, counts)
    return counts


def digest(hashes: np.ndarray) -> str:
    return sha256(hashes.tobytes()).hexdigest()


def within_budget(
    index: Index, ranked: np.ndarray, budget: dict[str, Any], tokens_of: Counter | None
) -> tuple[int, bool]:
    """How many of the ranked documents fit into a budget, and whether they use it up.

    Documents are taken in their order up to the first one that does not fit.
    """
    if not budget:
        return len(ranked), True
    if "documents" in budget:
        return min(budget["documents"], len(ranked)), budget["documents"] <= len(ranked)
    if "words" in budget:
        return fitting(index.columns["words"][ranked], budget["words"])
    return fitting(token_counts(index, ranked, budget["tokens"], tokens_of), budget["tokens"])


def fitting(sizes: np.ndarray, limit: int) -> tuple[int, bool]:
    spent = np.cumsum(sizes, dtype=np.int64)
    return int(np.searchsorted(spent, limit, side="right")), bool(len(spent)) and int(spent[-1]) >= limit


def token_counts(index: Index, ranked: np.ndarray, limit: int, tokens_of: Counter) -> np.ndarray:
    """The tokens of the first ranked documents: of as many as reach the limit, if there are.

    A sample says how many that may be, so that a small part of a large corpus is not tokenised in
    whole.
    """
    counts = np.zeros(0, np.int64)
    wanted = min(SAMPLE, len(ranked))
    while True:
        new = ranked[len(counts) : wanted]
        counts = np.concatenate([counts, counted(index, new, tokens_of)])
        spent = int(counts.sum())
        if spent >= limit or len(counts) == len(ranked):
            return counts
        wanted = min(len(ranked), max(len(counts) + SAMPLE, int(len(counts) * limit / max(spent, 1) * MARGIN)))


def counted(index: Index, wanted: np.ndarray, tokens_of: Counter) -> np.ndarray:
    """The number of tokens of some documents, in their order."""
    counts = np.zeros(len(index), np.int64)
    for documents, texts in chosen(index, wanted):
        counts[documents] = np.fromiter(tokens_of(texts.column("text").to_pylist()), np.int64, len(documents))
    return counts[wanted]


def chosen(index: Index, wanted: np.ndarray) -> Iterable[tuple[np.ndarray, pa.Table]]:
    """From each file those of its documents that are wanted: their indices and rows."""
    mask = np.zeros(len(index), bool)
    mask[wanted] = True
    for rows, table in index.tables():
        if mask[rows].any():
            yield rows.start + np.flatnonzero(mask[rows]), table.filter(pa.array(mask[rows]))


def write_documents(folder: Path, index: Index, ranked: np.ndarray) -> None:
    """Write documents in the order of their ranks, a file for each SHARD_BYTES of text.

    Each source file is read once: its rows go into the files of their ranks, which are then sorted
    one by one.
    """
    folder.mkdir()
    shard = np.zeros(len(index), np.int64)
    shard[ranked] = np.cumsum(index.columns["bytes"][ranked], dtype=np.int64) // SHARD_BYTES
    writers: dict[int, pq.ParquetWriter] = {}
    for documents, rows in chosen(index, ranked):
        for number in np.unique(shard[documents]):
            if number not in writers:
                writers[number] = pq.ParquetWriter(folder / f"{number:05d}.unsorted", SCHEMA, compression="zstd")
            writers[number].write_table(rows.filter(pa.array(shard[documents] == number)))
    for number, writer in writers.items():
        writer.close()
        unsorted = folder / f"{number:05d}.unsorted"
        table = pq.read_table(unsorted)
        # A text's hash is its place; ties are equal texts.
        order = pc.sort_indices(table, sort_keys=[("hash", "ascending")])
        pq.write_table(table.take(order), unsorted.with_suffix(".parquet"), compression="zstd")
        unsorted.unlink()
