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
import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from langmerge.errors import UserError
from langmerge.grid.grid import Grid
from langmerge.reporting.figures import checked_spec
from langmerge.reporting.scores import COLUMNS, Model, Summary, read_scores
from langmerge.reporting.tables import LAYOUTS, best_model, tabulate, to_latex, to_markdown
from support.paper_scores import ALL, BACKBONES, BASELINES, LANGUAGES, NEARSWAP, WEIGHTS, paper_rows, published, row
from support.paths import ROOT

SPEC = {
    "languages": LANGUAGES,
    "evaluation_languages": ["en"],
    "backbones": BACKBONES,
    "baselines": BASELINES,
    "labels": {
        "backbones": {"llama-3.1-8b": "Llama 3.1 8B"},
        "methods": {"linear": "Linear", "task_arithmetic": "Task Arithmetic"},
    },
    "weights": {"linear": WEIGHTS, "task_arithmetic": WEIGHTS, "nearswap": NEARSWAP},
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
    own = [name for name in set(data.columns) - set(expected.columns) if not name.endswith(("low", "high"))]
    assert set(own) <= {"weight", "n"}


@pytest.mark.parametrize(("number", "backbone"), [(5, "llama-3.1-8b"), (6, "qwen3-8b")])
def test_tables_5_and_6_and_their_averages(scores, number, backbone):
    """The averages are ours: scores.csv has only the languages' own numbers."""
    table, _ = tabulate(scores, "methods", LLAMA | {"backbones": [backbone], "methods": FOUR_METHODS})
    expected = published(number)
    pd.testing.assert_frame_equal(table.data[list(expected.columns)], expected, check_dtype=False, atol=0.006)
    assert [len(block.rows) for block in table.blocks] == [4, 4, 4]


@pytest.mark.parametrize(("number", "backbone"), [(5, "llama-3.1-8b"), (6, "qwen3-8b")])
def test_averages_of_tables_5_and_6_follow_from_tables_3_4_and_7(tmp_path, number, backbone):
    """Each language's own merge in its own language, whose numbers the other tables print."""
    rows = [line for line in paper_rows() if line["method"] in ("linear", "task_arithmetic")]
    others = [line for line in rows if not (line["method"] == "task_arithmetic" and line["measure"] == "ifeval")]
    table, _ = tabulate(
        read(tmp_path, others), "methods", LLAMA | {"backbones": [backbone], "methods": ["linear", "task_arithmetic"]}
    )
    ours = table.data.set_index(["measure", "method"])["avg"].dropna()
    expected = published(number).set_index(["measure", "method"])["avg"]
    assert len(ours) == 5
    pd.testing.assert_series_equal(ours, expected[ours.index], atol=0.006)


def test_translation_into_a_language_is_the_mean_over_its_sources(tmp_path):
    """*-EU, *-GL and *-CA are means over two sources, *-ES and *-EN over four: from task scores around it the published number comes back."""
    sources = {"eu": 2, "gl": 2, "ca": 2, "es": 4, "en": 4}
    rows = []
    for line in paper_rows():
        spread = range(1 - sources[line["language"]], sources[line["language"]], 2) if line["measure"] == "mt" else [0]
        rows += [line | {"task": f"{line['task']}_{step}", "value": line["value"] + 0.7 * step} for step in spread]
    scores = read(tmp_path, rows)
    for number in (3, 7):
        data = tabulate(scores, "merges", SPEC | {"methods": SHOWN[number][1]})[0].data
        expected = published(number)
        pd.testing.assert_frame_equal(data[list(expected.columns)], expected, check_dtype=False, atol=1e-6)


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
            candidates = [
                m
                for m in summary.models
                if (m.backbone, m.target, m.weight)
                == (line["backbone"], target, 0.5 if m.method == "nearswap" else weight)
            ]
            candidates = [m for m in candidates if m.method in ("linear", "task_arithmetic", "nearswap")]
            score = {
                m: sum(summary.score(m, code, measure).mean for code in m.languages for measure in measures)
                for m in candidates
            }
            count += max(score, key=score.get).method == line["method"]
        return count

    assert (agreeing(["mt"]), agreeing(["benchmark"]), agreeing(["mt", "benchmark"])) == (15, 9, 11)


@pytest.mark.parametrize(
    ("mt", "weight"), [({0.5: 9.0, 1: 11.0, 2: 10.0}, 1), ({}, 0.5)], ids=["by BLEU", "by accuracy without BLEU"]
)
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


# ---- parts: choosing w on one half of the documents


def halves(
    method: str, weight: float | str, dev: float, test: float, measure: str = "benchmark", target: str = "eu"
) -> list[dict]:
    line = row("mini", method, target, "eu", measure, 0) | {"weight": weight, "n": 100}
    return [
        line | {"part": part, "value": value}
        for part, value in {"all": (dev + test) / 2, "dev": dev, "test": test}.items()
    ]


def best(tmp_path, rows: list[dict], **changes):
    spec = {"languages": ["eu"], "backbones": ["mini"], "methods": ["linear"], **changes}
    return tabulate(read(tmp_path, rows), "best", spec)


def test_best_w_is_chosen_on_dev_and_reported_on_test(tmp_path):
    """w = 2 is best on all because of test; dev prefers w = 1, whose test score is what is reported."""
    rows = [
        *halves("linear", 1, dev=60, test=50),
        *halves("linear", 2, dev=55, test=70),
        *halves("instruct", "", 40, 44, target=""),
    ]
    table, caption = best(tmp_path, rows)
    instruct, linear = table.data.to_dict("records")
    assert (linear["w_dev"], linear["benchmark_test"], linear["w_all"], linear["benchmark_all"]) == ("1", 50, "2", 62.5)
    assert (instruct["w_dev"], instruct["benchmark_test"], instruct["benchmark_all"]) == ("", 44, 42)
    assert linear["benchmark_test_low"] < 50 < linear["benchmark_test_high"]
    assert "highest mean of Benchmarks, MT in" in caption
    assert markdown_cells(to_markdown(table, caption))[2][:5] == ["", "EU", "linear", "1", "2"]


def test_the_criterion_decides(tmp_path):
    rows = [*halves("linear", 1, 60, 60), *halves("linear", 2, 70, 70)]
    rows += [*halves("linear", 1, 50, 50, "ifeval"), *halves("linear", 2, 10, 10, "ifeval")]
    assert list(best(tmp_path, rows)[0].data["w_dev"][1:]) == ["2"]
    assert list(best(tmp_path, rows, criterion=["benchmark", "ifeval"])[0].data["w_dev"][1:]) == ["1"]
    assert list(best(tmp_path, rows, criterion=["ifeval"])[0].data["w_dev"][1:]) == ["1"]


def test_scores_without_parts_leave_the_choice_on_dev_missing(tmp_path):
    rows = [
        line
        for w, value in {1: 60, 2: 70}.items()
        for line in halves("linear", w, value, value)
        if line["part"] == "all"
    ]
    table, caption = best(tmp_path, rows)
    assert markdown_cells(to_markdown(table, caption))[2][3:7] == ["—", "2", "—", "—"]


def test_a_method_with_one_weight_is_no_choice(tmp_path):
    assert best(tmp_path, halves("linear", 1, 60, 60))[0].data.empty


def test_other_tables_show_all_documents(tmp_path):
    rows = halves("linear", 1, dev=60, test=50)
    spec = {"languages": ["eu"], "backbones": ["mini"], "methods": ["linear"], "weights": {"each": 1}}
    assert tabulate(read(tmp_path, rows), "methods", spec)[0].data["eu"][0] == 55


def test_collect_has_a_row_a_part(tmp_path):
    score = {
        "language": "eu",
        "measure": "benchmark",
        "task": "t",
        "metric": "acc",
        "seed": None,
        "value": 55,
        "stderr": 5,
        "n": 100,
    }
    parts = {"dev": {"value": 60, "stderr": 7, "n": 51}, "test": {"value": 50, "stderr": 7.1, "n": 49}}
    cell = {"backbone": "mini", "method": "linear", "target": "eu", "weight": 1.0}
    results = {"split": [score | {"parts": parts}], "whole": [score | {"task": "u"}]}
    for name, scores in results.items():
        (tmp_path / name).write_text(json.dumps({"cell": cell, "scores": scores}))
    (tmp_path / "names").write_text("".join(f"{tmp_path / name}\n" for name in results))
    command = [sys.executable, ROOT / "scripts/collect.py", tmp_path / "names", tmp_path / "scores.csv"]
    subprocess.run(command, check=True)
    scores = read_scores(tmp_path / "scores.csv")
    assert list(scores[["task", "part", "value", "n"]].itertuples(index=False, name=None)) == [
        ("t", "all", 55, 100),
        ("t", "dev", 60, 51),
        ("t", "test", 50, 49),
        ("u", "all", 55, 100),
    ]


# ---- intervals


@pytest.mark.parametrize(("hits", "n"), [(0, 64), (22, 64), (64, 64)])
def test_a_share_has_jeffreys_interval(tmp_path, hits, n):
    line = row("mini", "linear", "eu", "eu", "benchmark", 100 * hits / n) | {"n": n}
    score = Summary(read(tmp_path, [line])).score(Model("mini", "linear", "eu", 1.0), "eu", "benchmark")
    low, high = (100 * bound for bound in beta.interval(0.95, hits + 0.5, n - hits + 0.5))
    assert (score.low, score.high) == pytest.approx((low if hits else 0, high if hits < n else 100))


def test_a_score_that_is_no_share_has_the_interval_of_its_standard_error(tmp_path):
    """Matthews' correlation may be 40.0 of 500 documents too, but its bootstrap error is not the binomial one."""
    line = row("mini", "linear", "eu", "eu", "mt", 40.0) | {"n": 500, "stderr": 1.5}
    score = Summary(read(tmp_path, [line])).score(Model("mini", "linear", "eu", 1.0), "eu", "mt")
    assert (score.low, score.high) == pytest.approx((40 - 1.959964 * 1.5, 40 + 1.959964 * 1.5))
    line["stderr"] = 100 * (0.4 * 0.6 / 499) ** 0.5
    score = Summary(read(tmp_path, [line])).score(Model("mini", "linear", "eu", 1.0), "eu", "mt")
    assert (score.low, score.high) == pytest.approx(tuple(100 * bound for bound in beta.interval(0.95, 200.5, 300.5)))


def test_tasks_narrow_an_interval_and_seeds_do_not(tmp_path):
    line = row("mini", "linear", "eu", "eu", "mt", 30.0) | {"stderr": 1.0}

    def width(rows: list[dict]) -> float:
        score = Summary(read(tmp_path, rows)).score(Model("mini", "linear", "eu", 1.0), "eu", "mt")
        return score.high - score.low

    one = width([line])
    assert width([line | {"task": task} for task in "abcd"]) == pytest.approx(one / 2)
    assert width([line | {"seed": seed} for seed in (1, 2, 3, 4)]) == pytest.approx(one)
    assert pd.isna(width([line, line | {"task": "b", "stderr": ""}])), "the published rows' n fits no share"


def test_intervals_cover(tmp_path):
    """Of the means of two tasks with 50 documents, 95% of the intervals hold the truth."""
    random = np.random.default_rng(1)
    rows = []
    for weight in range(400):
        for task, chance in {"easy": 0.9, "hard": 0.3}.items():
            value = 100 * random.binomial(50, chance) / 50
            rows.append(
                row("mini", "linear", "eu", "eu", "benchmark", value) | {"task": task, "weight": weight, "n": 50}
            )
    summary = Summary(read(tmp_path, rows))
    scores = [summary.score(Model("mini", "linear", "eu", float(weight)), "eu", "benchmark") for weight in range(400)]
    assert 0.92 <= np.mean([score.low <= 60 <= score.high for score in scores]) <= 0.98


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
            row("mini", method, "eu", "eu", "benchmark", value) | {"task": task}
            for task, value in zip(("one", "two"), values, strict=True)
        ]
        rows += [
            row("mini", method, "eu", "eu", "ifeval", value, seed) for seed, value in zip((21, 22), values, strict=True)
        ]
    summary = Summary(read(tmp_path, rows))
    linear, dare = Model("mini", "linear", "eu", 1.0), Model("mini", "dare", "eu", 1.0)
    assert summary.score(linear, "eu", "benchmark").mean == 15
    assert summary.score(dare, "eu", "ifeval").sd == pytest.approx(50**0.5)

    summary = Summary(read(tmp_path, [line for line in rows if line["value"] not in (30,)]))
    assert summary.score(linear, "eu", "benchmark").mean == 15
    assert pd.isna(summary.score(dare, "eu", "benchmark").mean)
    assert pd.isna(summary.score(dare, "eu", "ifeval").mean)


def test_rows_that_are_asked_for_stand_without_a_score_and_unknown_names_are_no_error(scores):
    table, caption = tabulate(
        scores, "merges", SPEC | {"backbones": ["nobody"], "methods": ["linear"], "baselines": []}
    )
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
    command = [
        sys.executable,
        ROOT / "scripts/table.py",
        path,
        "--layout",
        layout,
        "--spec",
        json.dumps(spec),
        "--output",
        output,
    ]
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
        (",".join(COLUMNS) + "\nmini,linear,eu,1,eu,mt,t,,all,much,,5\n", "line 2: value is 'much'"),
        (",".join(COLUMNS) + "\nmini,linear,eu,,eu,mt,t,,all,1,,5\n", "line 2: a merge (linear) without a weight"),
        (
            ",".join(COLUMNS) + "\nmini,base,,,eu,mt,t,,all,1,,5\nmini,base,,,eu,mt,t,,all,2,,5\n",
            "line 3: a second score",
        ),
        (",".join(COLUMNS) + "\nmini,base,,,eu,mt,t,,train,1,,5\n", "line 2: part is 'train'"),
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
    for name in grid.tables(*LAYOUTS):
        settings = config["tables"][name]
        text = to_markdown(*tabulate(scores, settings["layout"], grid.table(name)))
        assert settings["title"] in text
    for name in config["figures"]:
        checked_spec(json.loads(json.dumps(grid.figure(name) | {"options": {"dpi": 100}})))
    assert grid.tables("paired") == ["paired"]


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
