"""Names from configurations never break a page: Markdown, LaTeX, HTML, figures."""

from __future__ import annotations

import re

import pytest

from langmerge.model import Model
from langmerge.reporting.compare import compare, to_html
from langmerge.reporting.compare import to_markdown as compare_markdown
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.printing import latex_escape, markdown_escape, markdown_paragraph, markdown_table
from langmerge.reporting.published import Number, Paper
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import Spec
from support.paper_scores import read, row

EVIL = "a|b\nc $x_1$ & <script>alert(1)</script> **d** [e](f) {g} 50% #h \\i `j` ~k^"


def test_markdown_escapes_what_is_special():
    assert markdown_escape("a|b\n*c* <b> [x](y) &amp; $z$") == r"a\|b \*c\* \<b\> \[x\](y) \&amp; \$z\$"
    assert markdown_escape("1.5 - # +") == "1.5 - # +", "within a line, these are text"


@pytest.mark.parametrize(
    ("text", "written"),
    [("# No heading", r"\# No heading"), ("1. No list", r"1\. No list"), ("- x", r"\- x"), ("Text. 1.", "Text. 1.")],
)
def test_a_paragraph_starts_no_heading_and_no_list(text, written):
    assert markdown_paragraph(text) == written


def test_latex_prints_every_special_character():
    assert latex_escape("<a|b>") == r"\textless{}a\textbar{}b\textgreater{}"
    assert latex_escape("±—") == r"$\pm$---"
    assert latex_escape("a\n\nb") == "a b"


def test_a_table_without_rows_has_its_header():
    assert markdown_table(["A", "B"], [], 1).splitlines()[0].split("|")[1].strip() == "A"


@pytest.mark.parametrize("layout", ["merges", "methods", "best", "paired"])
def test_a_label_stays_in_its_cell(tmp_path, layout):
    rows = [row("mini", "instruct", "", "eu", "benchmark", 40.0)]
    rows += [row("mini", "linear", "eu", "eu", "benchmark", 50.0) | {"weight": weight} for weight in (1.0, 2.0)]
    labels = {"backbones": {"mini": EVIL}, "methods": {"linear": EVIL}}
    spec = {"languages": ["eu"], "backbones": ["mini"], "labels": labels, "title": EVIL}
    options = {"methods": ["linear"], "weights": {"each": 1}}
    spec |= {name: value for name, value in options.items() if name in LAYOUTS[layout].options}
    files = LAYOUTS[layout].make(Sources(scores=read(tmp_path, rows)), spec, "t")
    caption, _, table = files["md"].partition("\n\n")
    assert "\n" not in caption
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
    assert cells and set(cells) == {cells[0]}
    assert not re.search(r"(?<!\\)<script", files["md"])
    if "tex" in files:
        assert not re.search(
            r"(?<!\\)[&%$#_~^]", files["tex"].split(r"\caption{")[1].split(r"\label")[0].replace(r"$\pm$", "")
        )


def test_a_paper_and_labels_do_not_break_the_comparison(tmp_path):
    number = Number("1", Model("mini", "linear", ("eu",), 1.0), "eu", "benchmark", 40.0)
    paper = Paper(EVIL, EVIL, [number])
    table = compare(paper, read(tmp_path, [row("mini", "linear", "eu", "eu", "benchmark", 50.0)]))
    spec = Spec(languages=["eu"], labels={"backbones": {"mini": EVIL}, "methods": {"linear": EVIL}})
    page = to_html(table, paper, spec)
    assert "<script" not in page and page.count("&lt;script&gt;") >= 4
    text = compare_markdown(table, paper, spec)
    assert not re.search(r"(?<!\\)<script", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {7, 4}, "totals and one section"


@pytest.mark.parametrize("layout", ["sweep", "pareto"])
def test_a_dollar_in_a_figure_is_a_dollar(tmp_path, layout):
    """matplotlib would read it as mathematics, and stop at a mistake in it."""
    rows = [row("mini", "linear", "eu", "eu", measure, 50.0) for measure in ("benchmark", "ifeval")]
    spec = {"languages": ["eu"], "backbone": "mini", "methods": ["linear"], "title": r"$\frac$", "options": {"dpi": 40}}
    spec["labels"] = {"methods": {"linear": r"$\nothing{$"}}
    assert LAYOUTS[layout].make(Sources(scores=read(tmp_path, rows)), spec, "f")["png"].startswith(b"\x89PNG")
