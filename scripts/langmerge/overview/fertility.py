"""Tokens per word of the models that a run merges, in the languages whose translations it
evaluates.

The texts are the translations' references. Nothing is fetched: what is not there is named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from langmerge.errors import UserError
from langmerge.grid.grid import Grid
from langmerge.model import SIDES, Model
from langmerge.words import fertility

TEXTS = ("text", "reference")
"""Columns with a text: in FLORES, and in the miniature."""


@dataclass(frozen=True)
class Fertility:
    """What one tokenizer of a backbone makes of a word.

    Attributes:
        models: those that have it.
        per_word: language -> tokens per word, None where its text is not there.
    """

    backbone: str
    models: list[str]
    per_word: dict[str, float | None]


@dataclass
class Fertilities:
    """Those of a run.

    Attributes:
        texts: languages whose text is not there; tokenizers: models without a folder; others:
            models whose folder has no tokenizer.json.
    """

    known: list[Fertility] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    tokenizers: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def fertilities(grid: Grid) -> Fertilities:
    """The fertility of each tokenizer of the backbones that have merges."""
    found = Fertilities()
    files = {code: stems for code in grid.evaluated if (stems := grid.tasks.references(code))}
    if not files:
        return found
    texts = {code: [text for stem in stems for text in read_texts(stem)] for code, stems in files.items()}
    found.texts = [code for code, own in texts.items() if not own]
    merged = {model.backbone for model in grid.models.values() if model.is_merge}
    same: dict[tuple[str, bytes], list[str]] = {}
    for model in grid.expansion.reference_models:
        if model.backbone not in merged or model.method not in SIDES:
            continue
        if tokenizer := tokenizer_of(grid, model):
            same.setdefault((model.backbone, tokenizer.read_bytes()), []).append(model.id)
        elif all(folder.is_dir() for folder in grid.layout.folders(model)):
            found.others.append(model.id)
        else:
            found.tokenizers.append(model.id)
    found.known = [Fertility(backbone, models, per_word(own, texts)) for (backbone, own), models in same.items()]
    return found


def tokenizer_of(grid: Grid, model: Model) -> Path | None:
    """A model's tokenizer.json, its adapter's if that has one; None if there is none."""
    files = (folder / "tokenizer.json" for folder in reversed(grid.layout.folders(model)))
    return next((path for path in files if path.is_file()), None)


def read_texts(stem: Path) -> Iterable[str]:
    """The texts of a file, given without its ending; none if it is not there."""
    for ending, read in (("parquet", parquet), ("jsonl", lines)):
        path = stem.with_name(f"{stem.name}.{ending}")
        if path.is_file():
            return read(path)
    return []


def lines(path: Path) -> Iterator[str]:
    """The texts of a JSONL file.

    Raises:
        UserError: a line is no JSON object, or has none of the columns.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                yield next(row[name] for name in TEXTS if name in row)
            except (ValueError, TypeError, StopIteration) as error:
                raise UserError(
                    f"{path}: line {number} is no JSON object with {' or '.join(f'`{name}`' for name in TEXTS)}. "
                    "Fetch or write the file again."
                ) from error


def parquet(path: Path) -> list[str]:
    """The texts of a Parquet file.

    Raises:
        UserError: it is none, or lacks the column.
    """
    from pyarrow.parquet import read_table

    try:
        return read_table(path, columns=[TEXTS[0]])[TEXTS[0]].to_pylist()
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{path} is no Parquet file with the column `{TEXTS[0]}`. Fetch or write the file again."
        ) from error


def per_word(definition: bytes, texts: dict[str, list[str]]) -> dict[str, float | None]:
    """Tokens per word by language, of the tokenizer that the content of a tokenizer.json defines."""
    # Imported late: a run without translations needs none.
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(definition)
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(own: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(own, add_special_tokens=False)]

    counts = {code: fertility(own, code, encode) for code, own in texts.items()}
    return {code: own["tokens"] / own["words"] if own["words"] else None for code, own in counts.items()}
