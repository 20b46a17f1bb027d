"""The first step: what of a corpus's files passes its filters, and which of that are duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from langmerge.corpora.documents import Index, Writer
from langmerge.corpora.duplicates import duplicates
from langmerge.corpora.executor import execute, resumed_directory
from langmerge.corpora.filters import filters
from langmerge.corpora.sources import Source, ending
from langmerge.errors import UserError
from langmerge.files import remove, write_json

DOCUMENTS, KEPT, COUNTS = "documents", "kept.npy", "counts.json"
"""In the folder of clean text: the files of documents; which of them are no duplicates; counts."""


def clean(
    output: Path,
    files: list[Path],
    corpus: dict[str, Any],
    stop_words: list[str],
    processes: int,
    key: str,
    source: str,
) -> dict[str, Any]:
    """Clean files into a folder. What an earlier process of the same key finished is kept.

    Args:
        corpus: the settings of the corpus.
        processes: files that are read at the same time.
        key: names all that determines the result.
        source: how messages call the corpus's file.

    Returns:
        The counts: documents that were `read`; documents, words, characters and bytes that are
        kept; and `dropped`, the documents that were dropped by filter and reason.

    Raises:
        UserError: a file cannot be read or has no texts, or nothing passes.
    """
    steps = filters(corpus["filters"], corpus["language"], stop_words, source)
    for file in files:
        ending(file)
    origin = corpus["source"]
    with resumed_directory(output, key) as folder:
        reader = Source(files, origin["text"], origin.get("url"), origin["split"])
        writer = Writer(folder / DOCUMENTS, corpus["language"])
        done = execute([reader, *steps, writer], len(files), processes, folder / "records" / "filters")
        names = ["unreadable", *(step.name for step in steps)]
        dropped = {name: reasons(step) for name, step in zip(names, done, strict=False)}
        index = Index.of(folder / DOCUMENTS)
        if not len(index):
            found = "; ".join(f"{name}: {count}" for name, count in dropped.items() if count)
            raise UserError(f"{source}: none of {done[0]['total']} documents passes the filters. Dropped by {found}.")
        alike = duplicates(index, corpus["duplicates"], corpus["language"], processes, folder / "records")
        dropped["duplicates"] = {kind: int(mask.sum()) for kind, mask in alike.items()}
        kept = ~np.logical_or.reduce([np.zeros(len(index), bool), *alike.values()])
        np.save(folder / KEPT, kept)
        counts = {"read": done[0]["total"], "dropped": dropped, **index.totals(kept)}
        write_json(folder / COUNTS, counts)
        remove(folder / "records")
    return counts


def reasons(step: dict[str, int]) -> dict[str, int]:
    """What a step dropped, by reason, the most frequent first."""
    found = {name.removeprefix("dropped_"): count for name, count in step.items() if name.startswith("dropped_")}
    return dict(sorted(found.items(), key=lambda item: -item[1]))
