"""Tables: the paper's published numbers, turned into scores.csv, come back in the paper's layouts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import docutils.core
import jinja2
import pandas as pd
import pytest
from paper_scores import ALL, BACKBONES, BASELINES, LANGUAGES, WEIGHTS, paper_rows, published, row

from common import UserError
from grid import Grid
from reporting.figures import checked_spec
from reporting.scores import COLUMNS, Model, Summary, read_scores
from reporting.tables import LAYOUTS, best_model, tabulate, to_latex, to_markdown

ROOT = Path(__file__).parents[1]
SPEC = {
    "languages": LANGUAGES,
    "evaluation_languages": ["en"],
    "backbones": BACKBONES,
    "baselines": BASELINES,
    "labels": {"backbones": {"llama-3.1-8b": "Llama 3.1 8B"}, "methods": {"linear": "Linear", "task_arithmetic": "Task Arithmetic"}},
    "weights": WEIGHTS,
}
LLAMA = {"languages": LANGUAGES, "backbones": ["llama-3.1-8b"], "weights": {"each": 1}}
FOUR_METHODS = ["linear", "task_arithmetic", "dare", "breadcrumbs"]
SHOWN = {
    2: ("adapted", []),
    3: ("merges", ["linear"]),
    4: ("ifeval", ["linear"]),
    7: ("merges", ["task_arithmetic"]),
    8: ("merges", ["task_arithmetic", "linear", "nearswap"]),
}


def scores_file(folder: Path, rows: list[dict]) -> Path:
    path = folder / "scores.csv"
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return path


def read(folder: Path, rows: list[dict]) -> pd.DataFrame:
    return read_scores(scores_file(folder, rows))


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> pd.DataFrame:
    return read(tmp_path_factory.mktemp("paper"), paper_rows())


def without(rows: list[dict], **wanted) -> list[dict]:
    kept = [line for line in rows if any(line[key] != value for key, value in wanted.items())]
    assert len(kept) < len(rows)
    return kept


def markdown_cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


# ---- the published tables


@pytest.mark.parametrize("number", SHOWN)
def test_published_numbers_come_back(scores, number):
    """Same rows in the same order, same columns, same numbers; for Table 8 also the same choice of methods."""
    layout, methods = SHOWN[number]
    data = tabulate(scores, layout, SPEC | {"methods": methods})[0].data
    expected = published(number)
    pd.testing.assert_frame_equal(data[list(expected.columns)], expected, check_dtype=False, atol=1e-6)
    assert set(data.columns) - set(expected.columns) <= {"weight", "n"}


def test_table_5_and_its_averages(scores):
    table, _ = tabulate(scores, "methods", LLAMA | {"methods": FOUR_METHODS})
    pd.testing.assert_frame_equal(table.data, published(5), check_dtype=False, atol=0.006)
    assert [len(block.rows) for block in table.blocks] == [4, 4, 4]


def test_table_4_prints_mean_and_sample_deviation(scores):
    cells = markdown_cells(to_markdown(*tabulate(scores, "ifeval", SPEC | {"methods": ["linear"]})))
    [target] = [cell for cell in cells if cell[1] == "Merge target"][:1]
    assert target[2] == "<u>39.98</u> ±1.1"
    assert cells[1][:3] == ["Llama 3.1 8B", "Joint EU", "46.82 ±2.0"]


# ---- best and second best


@pytest.mark.parametrize("number", SHOWN)
def test_bold_is_the_maximum_of_its_column_in_its_block(scores, number):
    layout, methods = SHOWN[number]
    table, caption = tabulate(scores, layout, SPEC | {"methods": methods})
    cells = markdown_cells(to_markdown(table, caption))[1:]
    start = 0
    for block in table.blocks:
        shown = [line[len(table.names) :] for line in cells[start : start + len(block.rows)]]
        start += len(block.rows)
        for column in zip(*shown, strict=True):
            values = [float(re.search(r"\d+\.\d\d", cell)[0]) for cell in column]
            bold = {value for value, cell in zip(values, column, strict=True) if "**" in cell}
            underlined = {value for value, cell in zip(values, column, strict=True) if "<u>" in cell}
            ranked = sorted(set(values), reverse=True)
            assert (bold, underlined) == (({ranked[0]}, {ranked[1]}) if block.ranked else (set(), set()))
    assert start == len(cells)


def test_equal_printed_scores_share_their_mark(tmp_path):
    values = {"linear": 50.001, "task_arithmetic": 49.999, "dare": 40.0, "breadcrumbs": 30.0}
    rows = [row("mini", method, "eu", "eu", "benchmark", value) for method, value in values.items()]
    spec = {"languages": ["eu"], "backbones": ["mini"], "methods": FOUR_METHODS, "weights": {"each": 1}}
    [first, *_] = tabulate(read(tmp_path, rows), "methods", spec)[0].blocks
    assert [mark for mark, _ in first.marks()] == [1, 1, 2, 0]


def test_reference_models_stand_in_a_block_of_their_own_and_only_when_scored(scores):
    spec = SPEC | {"methods": ["linear"], "baselines": ["salamandra-2b", "not-scored"]}
    [first, *rest] = tabulate(scores, "merges", spec)[0].blocks
    assert [line.names for line in first.rows] == [["Llama 3.1 8B", "Joint EU"], ["salamandra-2b", "Instruct"]]
    assert not any(mark for line in first.marks() for mark in line)
    assert all(len(block.rows) == 6 for block in rest)


# ---- which merge is shown


def test_mt_alone_gives_table_8s_choices(scores):
    """The docstring's claim: BLEU picks all 15 rows, benchmark accuracy 9, the mean of both 11."""
    summary = Summary(scores)
    chosen = published(8).query("variant == 'merge'")

    def agreeing(measures: list[str]) -> int:
        count = 0
        for line in chosen.to_dict("records"):
            target, weight = (ALL, 0.25) if line["language"] == "multi" else (line["language"], 1.0)
            candidates = [m for m in summary.models if (m.backbone, m.target, m.weight) == (line["backbone"], target, weight)]
            candidates = [m for m in candidates if m.method in ("linear", "task_arithmetic", "nearswap")]
            score = {m: sum(summary.score(m, code, measure).mean for code in m.languages for measure in measures) for m in candidates}
            count += max(score, key=score.get).method == line["method"]
        return count

    assert (agreeing(["mt"]), agreeing(["benchmark"]), agreeing(["mt", "benchmark"])) == (15, 9, 11)


@pytest.mark.parametrize(("mt", "weight"), [({0.5: 9.0, 1: 11.0, 2: 10.0}, 1), ({}, 0.5)], ids=["by BLEU", "by accuracy without BLEU"])
def test_best_shows_each_rows_best_weight(tmp_path, mt, weight):
    rows = [row("mini", "instruct", "", "eu", "benchmark", 40.0)]
    for w, accuracy in {0.5: 60.0, 1: 55.0, 2: 50.0}.items():
        rows.append(row("mini", "linear", "eu", "eu", "benchmark", accuracy) | {"weight": w})
    rows += [row("mini", "linear", "eu", "eu", "mt", bleu) | {"weight": w} for w, bleu in mt.items()]
    spec = {"languages": ["eu"], "backbones": ["mini"], "methods": ["linear"], "weights": "best"}
    table, caption = tabulate(read(tmp_path, rows), "merges", spec)
    assert table.blocks[-1].rows[1].names == ["mini", "Merge EU", f"{weight:g}"]
    assert list(table.data["weight"]) == ["", f"{weight:g}"]
    assert "Each row shows the w with the highest BLEU" in caption


def test_there_is_no_choice_without_a_score(scores):
    candidates = [Model("mini", "linear", "eu", 1.0), Model("mini", "dare", "eu", 1.0)]
    assert best_model(candidates, Summary(scores)) is None


# ---- missing scores


def test_a_missing_score_is_shown_as_missing(tmp_path):
    gone = without(paper_rows(), backbone="llama-3.1-8b", method="breadcrumbs", target="gl", measure="mt")
    table, caption = tabulate(read(tmp_path, gone), "methods", LLAMA | {"methods": FOUR_METHODS})
    line = markdown_cells(to_markdown(table, caption))[8]
    assert line[1] == "breadcrumbs"
    assert (line[3], line[6]) == ("—", "—"), "the cell and the average that it belongs to"
    assert "breadcrumbs & 13.35" not in to_latex(table, caption, "t")
    assert "--- &" in to_latex(table, caption, "t")
    assert "llama-3.1-8b,mt,breadcrumbs,13.3500,,0.4200,22.4600," in table.data.to_csv(index=False, float_format="%.4f")


def test_a_mean_over_fewer_tasks_or_seeds_than_other_models_have_is_missing(tmp_path):
    rows = []
    for method, values in {"linear": (10, 20), "dare": (30, 40)}.items():
        rows += [
            row("mini", method, "eu", "eu", "benchmark", value) | {"task": task} for task, value in zip(("one", "two"), values, strict=True)
        ]
        rows += [row("mini", method, "eu", "eu", "ifeval", value, seed) for seed, value in zip((21, 22), values, strict=True)]
    summary = Summary(read(tmp_path, rows))
    linear, dare = Model("mini", "linear", "eu", 1.0), Model("mini", "dare", "eu", 1.0)
    assert summary.score(linear, "eu", "benchmark").mean == 15
    assert summary.score(dare, "eu", "ifeval").sd == pytest.approx(50**0.5)

    summary = Summary(read(tmp_path, [line for line in rows if line["value"] not in (30,)]))
    assert summary.score(linear, "eu", "benchmark").mean == 15
    assert pd.isna(summary.score(dare, "eu", "benchmark").mean)
    assert pd.isna(summary.score(dare, "eu", "ifeval").mean)


def test_rows_that_are_asked_for_stand_without_a_score_and_unknown_names_are_no_error(scores):
    table, caption = tabulate(scores, "merges", SPEC | {"backbones": ["nobody"], "methods": ["linear"], "baselines": []})
    cells = markdown_cells(to_markdown(table, caption))[1:]
    assert [line[1] for line in cells] == ["Instruct", "Merge EU", "Merge GL", "Merge CA", "Merge ES", "Merge multi"]
    assert {cell for line in cells for cell in line[2:]} == {"—"}
    assert "0.00" not in to_markdown(table, caption)


def test_no_multilingual_row_where_the_spec_gives_no_weight_for_it(scores):
    table, _ = tabulate(scores, "merges", LLAMA | {"methods": ["linear"]})
    assert "multi" not in set(table.data["language"])


# ---- files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_latex_is_balanced(scores, layout):
    spec = LLAMA | {"methods": ["linear", "task_arithmetic"], "title": r"50% of $x_1$ & a \command {so} #1 ~^."}
    text = to_latex(*tabulate(scores, layout, spec), "tab:x")
    assert r"50\% of \$x\_1\$ \& a \textbackslash{}command \{so\} \#1 \textasciitilde{}\textasciicircum{}." in text
    assert all(text.count(rf"\{rule}") == 1 for rule in ("toprule", "bottomrule", "caption{", "label{tab:x}"))
    assert re.findall(r"\\begin\{(.*?)\}", text) == re.findall(r"\\end\{(.*?)\}", text)[::-1]
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = len(re.search(r"\{@\{\}([lr]+)@\{\}\}", text)[1])
    for line in body:
        spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert line.count("&") + 1 + sum(spans) - len(spans) == columns


def table(path: Path, spec: dict, output: Path, layout: str = "merges") -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "scripts/table.py", path, "--layout", layout, "--spec", json.dumps(spec), "--output", output]
    return subprocess.run(command, capture_output=True, text=True)


def test_command_writes_three_files(tmp_path):
    done = table(scores_file(tmp_path, paper_rows()), SPEC | {"methods": ["linear"]}, tmp_path / "tables" / "table3")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["table3.csv", "table3.md", "table3.tex"]
    written = pd.read_csv(tmp_path / "tables" / "table3.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(written[list(published(3).columns)], published(3))
    assert r"\label{tab:table3}" in (tmp_path / "tables" / "table3.tex").read_text()


def test_command_ends_with_one_line_and_no_file_on_a_mistake(tmp_path):
    done = table(tmp_path / "nothing.csv", SPEC | {"methods": ["linear"]}, tmp_path / "t")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "nothing.csv: no such file" in done.stderr
    assert not list(tmp_path.glob("t.*"))


# ---- mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a CSV file of scores"),
        (",".join(COLUMNS) + "\n", "has no scores, only a header"),
        ("backbone,method\nmini,base\n", "no column target, weight"),
        (",".join(COLUMNS) + "\nmini,linear,eu,1,eu,mt,t,,much,,5\n", "line 2: value is 'much'"),
        (",".join(COLUMNS) + "\nmini,linear,eu,,eu,mt,t,,1,,5\n", "line 2: a merge (linear) without a weight"),
        (",".join(COLUMNS) + "\nmini,base,,,eu,mt,t,,1,,5\nmini,base,,,eu,mt,t,,2,,5\n", "line 3: a second score"),
    ],
)
def test_a_wrong_scores_file_is_named(tmp_path, text, message):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_scores(tmp_path / "scores.csv")
    assert "scores.csv" in str(error.value)


@pytest.mark.parametrize(
    ("layout", "spec", "message"),
    [
        ("merges", SPEC | {"methods": ["linear"], "colour": 1}, "unknown key colour"),
        ("merges", {"languages": ["eu"]}, "lacks a key"),
        ("merges", [], "expected a mapping"),
        ("merges", SPEC | {"methods": []}, "methods: found []"),
        ("merges", SPEC | {"languages": [False], "methods": ["linear"]}, "Quote the words no"),
        ("merges", SPEC | {"methods": ["linear"], "weights": {"all": 1}}, "expected {each: 1.0, multi: 0.25}"),
        ("merges", SPEC | {"methods": ["linear"], "weights": {"each": "good"}}, "each is 'good'"),
        ("methods", SPEC | {"methods": ["linear"]}, "the layout methods shows one"),
    ],
)
def test_a_wrong_spec_is_explained(scores, layout, spec, message):
    with pytest.raises(UserError, match=re.escape(message)):
        tabulate(scores, layout, spec)


def test_the_shipped_runs_tables_and_figures_are_accepted(scores, config):
    """What grid.py passes on is what the layouts and the figure understand."""
    grid = Grid(config, ROOT / "config", source="config/config.yaml")
    for name, settings in config["tables"].items():
        text = to_markdown(*tabulate(scores, settings["layout"], grid.table(name)))
        assert "Mini" in text or "Linear" in text
    for name in config["figures"]:
        checked_spec(json.loads(json.dumps(grid.figure(name) | {"options": {"dpi": 100}})))


# ---- captions of `snakemake --report`


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("caption", sorted((ROOT / "workflow/report").glob("*.rst")), ids=lambda path: path.stem)
def test_captions_are_sound(caption, layout, config):
    """Rendered as Snakemake does, but with an undefined name or a slip in the markup as an error."""
    wildcards = SimpleNamespace(table="table3", figure="figure1")
    job = SimpleNamespace(params=SimpleNamespace(layout=layout), wildcards=wildcards, config=config)
    text = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(caption.read_text()).render(snakemake=job)
    html = docutils.core.publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]
    assert len(html) > 100
