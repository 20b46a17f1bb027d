"""A run beside a paper: which cell each published number belongs to, the difference, and what is within noise."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from langmerge.errors import UserError
from langmerge.reporting.comparison import compare, sections, to_html, to_markdown, totals
from langmerge.reporting.published import read_published
from langmerge.reporting.scores import COLUMNS, Model, read_scores
from support.paper_scores import ALL, BACKBONES, paper_rows, published
from support.paths import ROOT

FOLDER = ROOT / "config" / "published" / "merge_and_conquer"
LABELS = {"methods": {"linear": "Linear"}, "backbones": {"llama-3.1-8b": "Llama <8B>"}}


@pytest.fixture(scope="module")
def paper():
    return read_published(FOLDER)


def table(folder: Path, paper, rows: list[dict]) -> pd.DataFrame:
    pd.DataFrame(rows, columns=COLUMNS).to_csv(folder / "scores.csv", index=False)
    return compare(paper, read_scores(folder / "scores.csv"))


def with_errors(rows: list[dict], shift: float = 0.0) -> list[dict]:
    return [line | {"value": line["value"] + shift, "stderr": 1.0, "n": 1001} for line in rows]


# ---- what was published


def test_every_number_of_the_tables_is_there(paper):
    counted = {"2": 5, "3": 10, "7": 10, "8": 10, "4": 1, "5": 5, "6": 5}
    for name, columns in counted.items():
        assert sum(number.table == name for number in paper.numbers) == columns * len(published(int(name)))


def test_numbers_belong_to_the_cells_that_the_paper_names(paper):
    places = {(number.table, number.model, number.language, number.measure): number.value for number in paper.numbers}
    llama = "llama-3.1-8b"
    assert places["2", Model(llama, "adapted", "gl"), "eu", "benchmark"] == 43.94
    assert places["3", Model(llama, "joint", "eu"), "en", "mt"] == 35.42
    assert places["3", Model(llama, "linear", ALL, 0.25), "ca", "benchmark"] == 61.72
    assert places["4", Model("qwen3-8b", "linear", "gl", 1.0), "gl", "ifeval"] == 63.06
    assert places["5", Model(llama, "dare", "es", 1.0), "es", "ifeval"] == 23.56
    assert places["6", Model("qwen3-8b", "breadcrumbs", "each", 1.0), "avg", "mt"] == 6.78
    assert places["8", Model(llama, "nearswap", "eu", 0.5), "eu", "mt"] == 14.56


@pytest.mark.parametrize("folder", sorted((ROOT / "config" / "published").iterdir()), ids=lambda folder: folder.name)
def test_every_mapping_can_be_read(folder):
    paper = read_published(folder)
    assert paper.numbers
    assert all(isinstance(number.value, int | float) for number in paper.numbers)


def test_diplomas_models_and_columns():
    numbers = {(n.model, n.language, n.measure): n.value for n in read_published(FOLDER.parent / "diploma").numbers}
    assert numbers[Model("llama-3.2-3b", "diploma", "eu", 1.0), "eu", "safety"] == 44
    assert numbers[Model("llama-3.2-3b", "instruct"), "en", "ifeval"] == 79


# ---- beside a run


def test_a_run_with_the_papers_numbers_differs_nowhere(tmp_path, paper):
    """Also the averages, which the run computes; one number is in Tables 3, 7 and 8, and has one row."""
    found = table(tmp_path, paper, with_errors(paper_rows()))
    assert found["difference"].abs().max() < 0.006
    assert set(found["within_noise"]) == {"yes"}
    keys = ["backbone", "method", "target", "weight", "language", "measure"]
    assert not found.duplicated([*keys, "published"]).any()
    one = found[
        (found["method"] == "instruct")
        & (found["backbone"] == BACKBONES[0])
        & (found["language"] == "en")
        & (found["measure"] == "mt")
    ]
    assert list(one["tables"]) == ["3 7 8"]


@pytest.mark.parametrize(("shift", "verdict"), [(1.9, "yes"), (2.1, "no"), (-2.1, "no")])
def test_within_noise_is_within_our_interval(tmp_path, paper, shift, verdict):
    """The standard error is 1, so the interval reaches 1.96; that of a mean over four languages, .98."""
    found = table(tmp_path, paper, with_errors(paper_rows(), shift))
    single = found[(found["measure"] == "mt") & (found["language"] != "avg")]
    assert set(single["within_noise"]) == {verdict}
    assert set(found.loc[found["language"] == "avg", "within_noise"]) == {"no"}
    assert set(single["error"]) == {"bootstrap"}
    assert (single["low"] + 1.959964 - single["ours"]).abs().max() < 1e-6


def test_what_the_run_lacks_is_missing(tmp_path, paper):
    rows = [line for line in with_errors(paper_rows()) if line["method"] != "dare" and line["backbone"] != "alia-40b"]
    found = table(tmp_path, paper, rows)
    gone = found[found["ours"].isna()]
    assert set(gone["within_noise"]) == {""}
    assert set(gone["method"]) == {"dare", "instruct"}
    assert found["published"].notna().all()
    benchmark = next(line for line in totals(found) if line["measure"].startswith("Benchmarks"))
    assert benchmark["published"] - benchmark["ours"] == (gone["measure"] == "benchmark").sum()
    assert "23.56 / —" in to_markdown(found, paper, LABELS)


def test_without_an_error_nothing_is_said_of_noise(tmp_path, paper):
    found = table(tmp_path, paper, paper_rows())
    assert set(found["within_noise"]) == {""}
    assert found["ours"].notna().all()


# ---- files


class Page(html.parser.HTMLParser):
    """What stands in a page: text, classes, and whether tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.text, self.classes, self.links = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag not in ("meta",):
            self.open.append(tag)
        self.classes += [value for name, value in attributes if name == "class"]
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def test_page_stands_alone_and_is_sound(tmp_path, paper):
    found = table(tmp_path, paper, with_errors(paper_rows(), 2.1)[:-40])
    page = Page(to_html(found, paper, LABELS))
    assert not page.open
    assert not page.links, "nothing is fetched"
    assert {"above", "missing"} <= set(page.classes)
    assert "Llama <8B>" in page.text, "escaped"
    assert sum(cell in ("yes", "above", "below", "missing") for cell in page.classes) == len(found) + 3, (
        "a cell a number, and the key"
    )


def test_rows_and_columns_of_a_section(tmp_path, paper):
    [first, *_] = sections(table(tmp_path, paper, with_errors(paper_rows())), LABELS)
    assert (first["backbone"], first["languages"]) == ("Llama <8B>", ["eu", "gl", "ca", "es", "en", "avg"])
    names = [line[0] for line in first["lines"]]
    assert names[:3] == ["Base", "Adapted EU", "Adapted GL"]
    assert "Linear CA+ES+EU+GL, w = 0.25" in names
    assert len(names) == len(set(names))


def test_command_writes_three_files(tmp_path, paper):
    table(tmp_path, paper, with_errors(paper_rows()))
    command = [
        sys.executable,
        ROOT / "scripts/compare.py",
        tmp_path / "scores.csv",
        FOLDER,
        "--labels",
        json.dumps(LABELS),
    ]
    subprocess.run([*command, "--output", tmp_path / "compare"], check=True)
    assert sorted(path.suffix for path in tmp_path.glob("compare.*")) == [".csv", ".html", ".md"]
    assert len(pd.read_csv(tmp_path / "compare.csv")) == len({number._replace(table="") for number in paper.numbers})
    assert "Merge and Conquer" in (tmp_path / "compare.md").read_text()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no such file. Published numbers are there for: other"),
        (lambda folder: (folder / "table3.csv").unlink(), "table3.csv"),
        (lambda folder: (folder / "published.yaml").write_text("tables: {table3: tables}"), "KeyError: 'tables'"),
    ],
)
def test_a_wrong_folder_is_explained(tmp_path, break_it, message):
    for name in ("paper", "other"):
        shutil.copytree(FOLDER, tmp_path / name)
    break_it(tmp_path / "paper")
    with pytest.raises(UserError, match=re.escape(message)):
        read_published(tmp_path / "paper")
