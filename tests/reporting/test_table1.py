"""Table 1: documents and tokens of corpora in the paper's layout, with the published numbers."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from langmerge.errors import UserError
from langmerge.reporting.inputs import Counts
from langmerge.reporting.sources import Sources
from langmerge.reporting.table1 import make, short
from support.paths import ROOT

PAPER = ROOT / "config" / "published" / "merge_and_conquer"
LABELS = {"backbones": {"llama-3.1-8b": "Llama 3.1 8B", "qwen3-8b": "Qwen3 8B"}}


def corpus(
    folder: Path, name: str, language: str, tokens: dict[str, int], dropped: int = 0, reached: bool = True
) -> Counts:
    """The files that the steps of a corpus write."""
    selected, searched = folder / name / "selected", folder / name / "searched"
    write(
        selected / "counts.json",
        {"clean": {"dropped": {"c4: dolma": {"curly bracket": 7}, "duplicates": {"equal": 0}}}, "reached": reached},
    )
    write(searched / "report.json", {"documents": {"searched": 10, "contaminated": 5, "dropped": dropped}})
    folders = {backbone: folder / name / "tokens" / backbone for backbone in tokens}
    for backbone, count in tokens.items():
        meta = {"documents": 4_200_000, "words": 1_400_000_000, "characters": 9_900_000_000, "tokens": count}
        write(folders[backbone] / "train" / "meta.json", meta)
    return Counts(name, language, selected, searched, folders)


def write(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def made(tmp_path):
    basque = corpus(tmp_path, "latxa-eu", "eu", {"llama-3.1-8b": 3_510_000_000, "qwen3-8b": 3_540_000_000}, dropped=3)
    welsh = corpus(tmp_path, "own_cy", "cy", {"llama-3.1-8b": 2_000_000, "qwen3-8b": 999_999}, reached=False)
    return make(Sources(corpora=[basque, welsh], published=PAPER), {"languages": ["eu"], "labels": LABELS}, "table1")


def test_the_markdown_has_our_numbers_and_the_published_ones(made):
    rows = {
        line.split("|")[2].strip(): [cell.strip() for cell in line.split("|")[1:-1]]
        for line in made["md"].splitlines()
        if line.startswith("|")
    }
    assert rows["corpus"] == [
        "language", "corpus", "documents", "Tokens, Llama 3.1 8B", "Tokens, Qwen3 8B", "words", "characters",
        "Tokens per word, Llama 3.1 8B", "Tokens per word, Qwen3 8B",
    ]  # fmt: skip
    assert rows["latxa-eu"] == [
        "eu",
        "latxa-eu",
        "4.2M (4.2M)",
        "3.5B (3.5B)",
        "3.5B (3.5B)",
        "1.4B",
        "9.9B",
        "2.51",
        "2.53",
    ]
    assert rows[r"own\_cy\*"][2:5] == ["4.2M", "2.0M", "999,999"]


def test_what_was_dropped_is_listed_by_reason(made):
    lines = [line for line in made["md"].splitlines() if "latxa-eu" in line]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[1:]] == [
        ["latxa-eu", "c4: dolma", "curly bracket", "7"],
        ["latxa-eu", "contamination", "items of benchmarks", "3"],
    ]


def test_the_csv_has_numbers_in_full(made):
    basque, welsh = pd.read_csv(StringIO(made["csv"])).to_dict("records")
    assert basque["tokens_llama-3.1-8b"] == 3_510_000_000
    assert basque["tokens_per_word_qwen3-8b"] == pytest.approx(3.54 / 1.4)
    assert (basque["published_documents"], basque["published_tokens_qwen3-8b"]) == ("4.2M", "3.5B")
    assert (basque["dropped_c4: dolma_curly bracket"], basque["dropped_contamination_items of benchmarks"]) == (7, 3)
    assert (basque["budget_reached"], welsh["budget_reached"]) == (True, False)


def test_the_latex_is_a_table(made):
    assert r"\multicolumn{2}{c}{Tokens}" in made["tex"]
    assert r"own\_cy*" in made["tex"]
    assert made["tex"].count("\\\\\n") >= 4


def test_every_published_number_belongs_to_a_backbone_of_the_paper():
    from langmerge.reporting.table1 import Published

    paper = Published.read(PAPER)
    assert {code: paper.documents(code) for code in ("eu", "gl", "ca", "es", "en")} == {
        "eu": "4.2M",
        "gl": "8.9M",
        "ca": "3.8M",
        "es": "3.8M",
        "en": "0.5M",
    }
    assert paper.tokens("ca", "llama-3.1-8b") == "3.7B"
    assert paper.tokens("ca", "qwen3-14b") == "3.8B"
    assert paper.tokens("ca", "mini") is None
    assert paper.documents("cy") is None


def test_an_unfinished_corpus_is_refused(tmp_path):
    counts = corpus(tmp_path, "latxa-eu", "eu", {"mini": 1})
    (tmp_path / "latxa-eu" / "searched" / "report.json").unlink()
    with pytest.raises(UserError, match=r"report.json: no such file: the corpus is not finished"):
        make(Sources(corpora=[counts]), {"languages": ["eu"]}, "table1")


@pytest.mark.parametrize(
    ("number", "text"),
    [(5, "5"), (999_999, "999,999"), (1_000_000, "1.0M"), (4_249_000, "4.2M"), (3_500_000_000, "3.5B")],
)
def test_numbers_as_the_paper_prints_them(number, text):
    assert short(number) == text
