"""A run compared with a paper: which model each published number belongs to, the difference, and
what is within noise.
"""

from __future__ import annotations

import html.parser
import io
import re
import shutil

import pandas as pd
import pytest

from langmerge.errors import UserError
from langmerge.model import Model
from langmerge.reporting.compare import CompareSpec, compare, sections, to_html, to_markdown, totals
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.published import read_published
from langmerge.reporting.sources import Sources
from support.paper_scores import ALL, BACKBONES, paper_rows, published, read
from support.paths import ROOT

FOLDER = ROOT / "config" / "published" / "merge_and_conquer"
LABELS = {"methods": {"linear": "Linear"}, "backbones": {"llama-3.1-8b": "Llama <8B>"}}
SPEC = CompareSpec(labels=LABELS)


@pytest.fixture(scope="module")
def paper():
    return read_published(FOLDER)


def with_errors(rows: list[dict], shift: float = 0.0) -> list[dict]:
    return [line | {"value": line["value"] + shift, "stderr": 1.0, "n": 1001} for line in rows]


@pytest.fixture(scope="module")
def table(tmp_path_factory, paper) -> pd.DataFrame:
    """The comparison with a run whose scores are the paper's."""
    return compare(paper, read(tmp_path_factory.mktemp("same"), with_errors(paper_rows())))


# ---- what was published


def test_every_number_of_the_tables_is_there(paper):
    counted = {"2": 5, "3": 10, "7": 10, "8": 10, "4": 1, "5": 5, "6": 5}
    for name, columns in counted.items():
        assert sum(number.table == name for number in paper.numbers) == columns * len(published(int(name))) > 0


def test_numbers_belong_to_the_models_that_the_paper_names(paper):
    values = {(number.table, number.model, number.language, number.measure): number.value for number in paper.numbers}
    llama, together = "llama-3.1-8b", tuple(ALL.split("+"))
    assert values["2", Model(llama, "adapted", ("gl",)), "eu", "benchmark"] == 43.94
    assert values["3", Model(llama, "joint", ("eu",)), "en", "mt"] == 35.42
    assert values["3", Model(llama, "linear", together, 0.25), "ca", "benchmark"] == 61.72
    assert values["4", Model("qwen3-8b", "linear", ("gl",), 1.0), "gl", "ifeval"] == 63.06
    assert values["5", Model(llama, "dare", ("es",), 1.0), "es", "ifeval"] == 23.56
    assert values["6", Model("qwen3-8b", "breadcrumbs", ("each",), 1.0), "avg", "mt"] == 6.78
    assert values["8", Model(llama, "nearswap", ("eu",), 0.5), "eu", "mt"] == 14.56


@pytest.mark.parametrize("folder", sorted((ROOT / "config" / "published").iterdir()), ids=lambda folder: folder.name)
def test_every_mapping_can_be_read(folder):
    paper = read_published(folder)
    assert paper.numbers
    assert all(isinstance(number.value, int | float) for number in paper.numbers)


def test_diplomas_models_and_columns():
    numbers = {(n.model, n.language, n.measure): n.value for n in read_published(FOLDER.parent / "diploma").numbers}
    assert numbers[Model("llama-3.2-3b", "diploma", ("eu",), 1.0), "eu", "safety"] == 44
    assert numbers[Model("llama-3.2-3b", "instruct"), "en", "ifeval"] == 79


# ---- compared with a run


def test_a_run_with_the_papers_numbers_differs_nowhere(table):
    """Also the averages, which the run computes; one number is in Tables 3, 7 and 8, and has one
    row.
    """
    assert table["difference"].abs().max() < 0.006
    assert set(table["within_noise"]) == {"yes"}
    keys = ["backbone", "method", "target", "weight", "language", "measure"]
    assert not table.duplicated([*keys, "published"]).any()
    one = table.query(f"method == 'instruct' and backbone == '{BACKBONES[0]}' and language == 'en' and measure == 'mt'")
    assert list(one["tables"]) == ["3 7 8"]


@pytest.mark.parametrize(("shift", "verdict"), [(1.9, "yes"), (2.1, "no"), (-2.1, "no")])
def test_within_noise_is_within_our_interval(tmp_path, paper, shift, verdict):
    """The standard error is 1, so the interval reaches 1.96; that of a mean over four languages,
    0.98.
    """
    found = compare(paper, read(tmp_path, with_errors(paper_rows(), shift)))
    single = found[(found["measure"] == "mt") & (found["language"] != "avg")]
    assert set(single["within_noise"]) == {verdict}
    assert set(found.loc[found["language"] == "avg", "within_noise"]) == {"no"}
    assert set(single["error"]) == {"bootstrap"}
    assert set(found.loc[found["measure"] != "mt", "error"]) == {"binomial"}
    assert (single["low"] + 1.959964 - single["ours"]).abs().max() < 1e-6


def test_what_the_run_lacks_is_missing(tmp_path, paper):
    rows = [line for line in with_errors(paper_rows()) if line["method"] != "dare" and line["backbone"] != "alia-40b"]
    found = compare(paper, read(tmp_path, rows))
    gone = found[found["ours"].isna()]
    assert set(gone["within_noise"]) == {""}
    assert set(gone["method"]) == {"dare", "instruct"}
    assert found["published"].notna().all()
    benchmark = next(line for line in totals(found) if line["measure"].startswith("Benchmarks"))
    assert benchmark["published"] - benchmark["ours"] == (gone["measure"] == "benchmark").sum() > 0
    assert "23.56 / —" in to_markdown(found, paper, SPEC)


def test_without_an_error_nothing_is_said_of_noise(tmp_path, paper):
    found = compare(paper, read(tmp_path, paper_rows()))
    assert set(found["within_noise"]) == {""}
    assert found["ours"].notna().all()


def test_safety_is_compared_like_every_measure(tmp_path):
    paper = read_published(FOLDER.parent / "diploma")
    found = compare(paper, read(tmp_path, paper_rows()))
    assert {line["measure"] for line in totals(found)} == {
        "IFEval (strict accuracy, %)",
        "Safety (appropriate answers, %)",
    }


# ---- files


class Page(html.parser.HTMLParser):
    """The content of a page: text, classes, links, and tags that are not closed."""

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


def test_page_needs_no_other_file_and_is_sound(tmp_path, paper):
    found = compare(paper, read(tmp_path, with_errors(paper_rows(), 2.1)[:-40]))
    page = Page(to_html(found, paper, SPEC))
    assert not page.open
    assert not page.links, "nothing is fetched"
    assert {"above", "missing"} <= set(page.classes)
    assert "Llama <8B>" in page.text, "escaped"
    cells = sum(cell in ("yes", "above", "below", "missing") for cell in page.classes)
    assert cells == len(found) + 3, "one cell per number, and the key"


def test_rows_and_columns_of_a_section(table):
    [first, *_] = sections(table, SPEC)
    assert (first["backbone"], first["languages"]) == ("Llama <8B>", ["eu", "gl", "ca", "es", "en", "avg"])
    names = [line[0] for line in first["lines"]]
    assert names[:3] == ["Base", "Adapted EU", "Adapted GL"]
    assert "Linear CA+ES+EU+GL, w = 0.25" in names
    assert "Dare each language, w = 1" in names
    assert len(names) == len(set(names))


def test_three_files_are_written(tmp_path, paper):
    sources = Sources(scores=read(tmp_path, with_errors(paper_rows())), published=FOLDER)
    files = LAYOUTS["compare"].make(sources, {"labels": LABELS}, "compare")
    assert tuple(files) == LAYOUTS["compare"].formats
    assert len(pd.read_csv(io.StringIO(files["csv"]))) == len({number._replace(table="") for number in paper.numbers})
    assert "# Comparison with Merge and Conquer" in files["md"]
    assert "<h1>Comparison with Merge and Conquer" in files["html"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (shutil.rmtree, "no such file. There are published numbers of: other"),
        (lambda folder: (folder / "table3.csv").unlink(), "table3.csv"),
        (lambda folder: (folder / "published.yaml").write_text("tables: {table3: tables}"), "KeyError: 'tables'"),
        (lambda folder: (folder / "published.yaml").write_text("tables: {"), "is not YAML"),
        (
            lambda folder: (folder / "table5.csv").write_text(
                "backbone,method,measure,eu\nllama-3.1-8b,linear,speed,1\n"
            ),
            "unknown measure speed; known: benchmark",
        ),
    ],
)
def test_a_wrong_folder_is_explained(tmp_path, break_it, message):
    for name in ("paper", "other"):
        shutil.copytree(FOLDER, tmp_path / name)
    break_it(tmp_path / "paper")
    with pytest.raises(UserError, match=re.escape(message)):
        read_published(tmp_path / "paper")


@pytest.mark.parametrize(
    "model", ["{backbone: b, method: linear, target: eu}", "{backbone: b, method: base, weight: 1}"]
)
def test_a_published_merge_has_a_weight_and_a_reference_model_none(tmp_path, model):
    (tmp_path / "published.yaml").write_text(
        f"{{source: s, tables: {{table1: models}}, models: {{m: {model}}}, columns: {{x: {{language: eu, measure: mt}}}}}}"
    )
    (tmp_path / "table1.csv").write_text("model,x\nm,1\n")
    with pytest.raises(UserError, match=r"models\.m: merges have a weight, reference models have none"):
        read_published(tmp_path)
