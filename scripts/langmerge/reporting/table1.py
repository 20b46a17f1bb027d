"""The layout table1: documents, words and tokens of a run's corpora, and what was dropped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from langmerge.errors import UserError
from langmerge.reporting.inputs import Counts
from langmerge.reporting.printing import MISSING, latex_escape, latex_table, markdown_escape, markdown_table
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import Spec, read_spec
from langmerge.yamls import read_yaml

CAPTION = (
    "The training corpora. Tokens include the beginning and the end of each document; words are those of ICU. Published "
    "numbers are in brackets. * marks a corpus with less text than its budget."
)


@dataclass(frozen=True)
class Row:
    """A corpus.

    Attributes:
        documents, words, characters: of what is trained on.
        tokens: by backbone.
        dropped: (step, reason) -> documents.
        reached: whether there was enough text for the budget.
    """

    corpus: str
    language: str
    documents: int
    words: int
    characters: int
    tokens: dict[str, int]
    dropped: dict[tuple[str, str], int]
    reached: bool


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(Spec, spec)
    rows = [read_row(counts) for counts in sources.corpora]
    backbones = list(sources.corpora[0].tokens)
    published = Published.read(sources.published)
    columns = [
        ("", "documents"),
        *(("Tokens", settings.label("backbones", backbone)) for backbone in backbones),
        ("", "words"),
        ("", "characters"),
    ]
    columns += [("Tokens per word", settings.label("backbones", backbone)) for backbone in backbones]
    cells = [cells_of(row, backbones, published) for row in rows]
    header = ["language", "corpus", *(f"{group}, {heading}".removeprefix(", ") for group, heading in columns)]
    drops = [[row.corpus, step, reason, f"{count:,}"] for row in rows for (step, reason), count in row.dropped.items()]
    return {
        "csv": pd.DataFrame([record(row, published) for row in rows]).to_csv(index=False),
        "md": "\n\n".join(
            [
                markdown_escape(CAPTION),
                markdown_table(header, [[markdown_escape(cell) for cell in line] for line in cells], len(columns)),
                markdown_table(
                    ["corpus", "dropped by", "reason", "documents"], [[markdown_escape(c) for c in d] for d in drops], 1
                ),
                "",
            ]
        ),
        "tex": latex_table(
            ["Language", "Corpus"],
            columns,
            [[[latex_escape(cell) for cell in line] for line in cells]],
            CAPTION,
            f"tab:{name}",
        ),
    }


def read_row(counts: Counts) -> Row:
    """The row of a corpus, from the files of its steps.

    Raises:
        UserError: a step is not done.
    """
    selected = read_json(counts.selected / "counts.json")
    searched = read_json(counts.searched / "report.json")["documents"]
    tokens = {name: read_json(folder / "train" / "meta.json") for name, folder in counts.tokens.items()}
    first = next(iter(tokens.values()))
    dropped = {
        (step, reason): count
        for step, reasons in selected["clean"]["dropped"].items()
        for reason, count in reasons.items()
        if count
    }
    if searched["dropped"]:
        dropped["contamination", "items of benchmarks"] = searched["dropped"]
    return Row(
        counts.name,
        counts.language,
        first["documents"],
        first["words"],
        first["characters"],
        {name: meta["tokens"] for name, meta in tokens.items()},
        dropped,
        selected["reached"],
    )


def read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file: the corpus is not finished. `snakemake` makes it.")
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Published:
    """A paper's Table 1.

    Attributes:
        rows: language -> {column: the number as printed}.
        tokenizers: column -> how the names of the backbones with that tokenizer start.
    """

    rows: dict[str, dict[str, str]]
    tokenizers: dict[str, str]

    @classmethod
    def read(cls, folder: Path | None) -> Published:
        """Of a folder of config/published; empty if it has no such table."""
        table = folder / "table1.csv" if folder else None
        if table is None or not table.is_file():
            return cls({}, {})
        frame = pd.read_csv(table, dtype=str).set_index("language")
        return cls(frame.to_dict("index"), read_yaml(folder / "published.yaml")["tokenizers"])

    def documents(self, language: str) -> str | None:
        return self.rows.get(language, {}).get("documents")

    def tokens(self, language: str, backbone: str) -> str | None:
        columns = [column for column, start in self.tokenizers.items() if backbone.startswith(start)]
        return self.rows.get(language, {}).get(columns[0]) if columns else None


def cells_of(row: Row, backbones: list[str], published: Published) -> list[str]:
    """The cells of a row, as they are printed."""
    return [
        row.language,
        row.corpus + ("" if row.reached else "*"),
        beside(short(row.documents), published.documents(row.language)),
        *(beside(short(row.tokens[name]), published.tokens(row.language, name)) for name in backbones),
        short(row.words),
        short(row.characters),
        *(f"{row.tokens[name] / row.words:.2f}" if row.words else MISSING for name in backbones),
    ]


def beside(own: str, published: str | None) -> str:
    return f"{own} ({published})" if published else own


def short(number: int) -> str:
    """A number as the paper prints it: 4.2M, 3.5B; below a million as it is."""
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:,}"


def record(row: Row, published: Published) -> dict[str, Any]:
    """A row of the CSV file, with numbers in full."""
    tokens = {f"tokens_{name}": count for name, count in row.tokens.items()}
    per_word = {f"tokens_per_word_{name}": count / row.words for name, count in row.tokens.items() if row.words}
    printed = {f"published_tokens_{name}": published.tokens(row.language, name) for name in row.tokens}
    dropped = {f"dropped_{step}_{reason}": count for (step, reason), count in row.dropped.items()}
    return {
        "language": row.language,
        "corpus": row.corpus,
        "documents": row.documents,
        "words": row.words,
        "characters": row.characters,
        **tokens,
        **per_word,
        "budget_reached": row.reached,
        "published_documents": published.documents(row.language),
        **printed,
        **dropped,
    }
