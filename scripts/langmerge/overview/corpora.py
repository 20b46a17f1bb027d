"""How long the steps of corpora are estimated to take, from the size of their files.

Speeds are those of docs/benchmarks/2026-11-27-corpora.md. Of the other steps nothing was measured
that would tell; they take minutes.
"""

from __future__ import annotations

import os

from langmerge.grid.grid import Grid
from langmerge.grid.jobs import Job

TIMED = ("clean", "tokenise")
"""The rules whose jobs take hours."""

CLEANED, WITHOUT_NEAR_DUPLICATES = 1.1e6, 1.8e6
"""Bytes of text a second and core: through the filters, and through MinHash."""

TOKENISED = 0.67e6
"""Tokens a second and core."""

CHARACTERS, COMPRESSED = 4, 2.5
"""Bytes of text per token, and per byte of a compressed file."""

CORES = 16
"""That the rules ask for (workflow/rules/text.smk)."""


def hours_of_step(grid: Grid, job: Job) -> float | None:
    """Hours of a job of TIMED on this machine's cores; None where a data set has no `gb`."""
    corpus = grid.corpora.by_name[job.name.split("/")[0]]
    if corpus.repository:
        size, files = corpus.repository.get("gb", 0) * 1e9 * COMPRESSED, CORES
    else:
        paths = corpus.files(grid.layout.cache)
        plain = (".jsonl", ".txt")
        size = sum(path.stat().st_size * (1 if path.suffix in plain else COMPRESSED) for path in paths)
        files = len(paths)
    if not size:
        return None
    if job.rule == "clean":
        seconds = size / CLEANED + (size / WITHOUT_NEAR_DUPLICATES if corpus.settings["duplicates"] == "minhash" else 0)
    else:
        seconds = min(corpus.settings["budget"].get("tokens", size), size / CHARACTERS) / TOKENISED
    return seconds / min(CORES, files, os.cpu_count() or 1) / 3600
