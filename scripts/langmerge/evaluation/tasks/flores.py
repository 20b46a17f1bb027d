"""FLORES+ (openlanguagedata/flores_plus): two languages side by side.

The data set has one file per language and split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset, DatasetDict

SPLITS = ("dev", "devtest")

READERS = {".parquet": pd.read_parquet, ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False)}
"""The repository had JSON lines at first, and has Parquet now."""


def load(source: str, target: str, folder: str | None = None, **_: Any) -> DatasetDict:
    """Return both splits with the columns that lm-eval's stock tasks read.

    They are id, sentence_<source> and sentence_<target>.

    Args:
        source, target: FLORES codes, such as eng_Latn.
        folder: holds dev/<code>.parquet (or .jsonl) and devtest/..., with columns id and text.
        _: the task's metadata, which lm-eval passes too.

    Raises:
        FileNotFoundError: there is no folder, or a language is not in it.
    """
    if folder is None:
        raise FileNotFoundError("no folder was given for openlanguagedata/flores_plus")
    return DatasetDict({split: pairs(Path(folder) / split, source, target) for split in SPLITS})


def pairs(folder: Path, source: str, target: str) -> Dataset:
    """The sentences that both languages have, aligned by their ids, in the source's order."""
    columns = [sentences(folder, code).rename(f"sentence_{code}") for code in (source, target)]
    return Dataset.from_pandas(columns[0].to_frame().join(columns[1], how="inner").reset_index(), preserve_index=False)


def sentences(folder: Path, code: str) -> pd.Series:
    """The texts of one language, by id."""
    for suffix, read in READERS.items():
        path = folder / f"{code}{suffix}"
        if path.is_file():
            return read(path).set_index("id")["text"]
    known = ", ".join(sorted({path.stem for path in folder.glob("*_*")})) or "none"
    raise FileNotFoundError(f"{folder} has no file of the language {code}; it has: {known}")
