"""Tables: the paper's numbers, turned into scores.csv, come back in the paper's layouts."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import pandas as pd
import pytest

from langmerge.errors import UserError
from langmerge.measures import MEASURES
from langmerge.model import Model
from langmerge.reporting import adapted, best, ifeval, merges, methods
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.merge_rows import MergesSpec, best_model, shown_scores
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import TableSpec, read_spec
from langmerge.reporting.summary import Score, Summary
from langmerge.reporting.table import Block, Row, Table, caption, decimals, marks, to_latex, to_markdown
from support.paper_scores import (
    ALL,
    BACKBONES,
    BASELINES,
    LANGUAGES,
    NEARSWAP,
    WEIGHTS,
    paper_rows,
    published,
    read,
    row,
)

SPEC = {
    "languages": LANGUAGES,
    "evaluation_languages": ["en"],
    "backbones": BACKBONES,
    "labels": {
        "backbones": {"llama-3.1-8b": "Llama 3.1 8B"},
        "methods": {"linear": "Linear", "task_arithmetic": "Task Arithmetic"},
    },
}
MERGES = {
    **SPEC,
    "baselines": BASELINES,
    "weights": {"linear": WEIGHTS, "task_arithmetic": WEIGHTS, "nearswap": NEARSWAP},
}
LLAMA = {"languages": LANGUAGES, "backbones": ["llama-3.1-8b"], "weights": {"each": 1}}
FOUR_METHODS = ["linear", "task_arithmetic", "dare", "breadcrumbs"]
MODULES = {
    "adapted": (adapted, TableSpec, ("base", "adapted")),
    "merges": (merges, MergesSpec, ("instruct", "joint")),
    "ifeval": (ifeval, MergesSpec, ("instruct", "joint")),
    "methods": (methods, MergesSpec, ("instruct",)),
    "best": (best, best.BestSpec, ("instruct",)),
}
NOT_RANKED = ("base", "adapted")
SHOWN = {
    2: ("adapted", SPEC),
    3: ("merges", MERGES | {"methods": ["linear"]}),
    4: ("ifeval", MERGES | {"methods": ["linear"]}),
    7: ("merges", MERGES | {"methods": ["task_arithmetic"]}),
    8: ("merges", MERGES | {"methods": ["task_arithmetic", "linear", "nearswap"]}),
}


def tabulate(scores: pd.DataFrame, layout: str, spec: dict) -> tuple[Table, str]:
    """A layout's table and its caption, without its files."""
    module, kind, references = MODULES[layout]
    settings = read_spec(kind, spec)
    summary = shown_scores(scores, settings, references, NOT_RANKED if layout != "adapted" else ())
    table = module.build(settings, summary)
    return table, caption(table, settings.title, summary)


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


def compare_frames(data: pd.DataFrame, expected: pd.DataFrame, atol: float) -> None:
    """The published rows, in their order; besides, a table has the models that its paper's lacks."""
    name = "variant" if "variant" in expected else "method"
    own = data[data[name].isin(expected[name])].reset_index(drop=True)
    pd.testing.assert_frame_equal(own[list(expected.columns)], expected, check_dtype=False, atol=atol)


# ---- the published tables


@pytest.mark.parametrize("number", SHOWN)
def test_published_numbers_come_back(scores, number):
    """Same rows in the same order, same columns, same numbers; for Table 8 also the same choice of
    methods.
    """
    data = tabulate(scores, *SHOWN[number])[0].data
    expected = published(number)
    compare_frames(data, expected, 1e-6)
    own = [name for name in set(data.columns) - set(expected.columns) if not name.endswith(("low", "high"))]
    assert set(own) <= {"weight", "n"}


@pytest.mark.parametrize(("number", "backbone"), [(5, "llama-3.1-8b"), (6, "qwen3-8b")])
def test_tables_5_and_6_and_their_averages(scores, number, backbone):
    """The averages are ours: scores.csv has only the languages' own numbers."""
    table, _ = tabulate(scores, "methods", LLAMA | {"backbones": [backbone], "methods": FOUR_METHODS})
    compare_frames(table.data, published(number), 0.006)
    rows = [[line.names[1] for line in block.rows] for block in table.blocks]
    assert rows == [["Base", "Adapted", "Instruct", *FOUR_METHODS], *[["Instruct", *FOUR_METHODS]] * 2]


@pytest.mark.parametrize(("number", "backbone"), [(5, "llama-3.1-8b"), (6, "qwen3-8b")])
def test_averages_of_tables_5_and_6_follow_from_tables_3_4_and_7(tmp_path, number, backbone):
    """Each language's own merge in its own language, whose numbers the other tables print."""
    rows = [line for line in paper_rows() if line["method"] in ("linear", "task_arithmetic")]
    others = [line for line in rows if not (line["method"] == "task_arithmetic" and line["measure"] == "ifeval")]
    spec = LLAMA | {"backbones": [backbone], "methods": ["linear", "task_arithmetic"]}
    table, _ = tabulate(read(tmp_path, others), "methods", spec)
    expected = published(number).set_index(["measure", "method"])["avg"]
    ours = table.data.set_index(["measure", "method"])["avg"].dropna()
    ours = ours[ours.index.isin(expected.index)]
    assert len(ours) == 5
    pd.testing.assert_series_equal(ours, expected[ours.index], atol=0.006)


def test_translation_into_a_language_is_the_mean_over_its_sources(tmp_path):
    """*-EU, *-GL and *-CA are means over two sources, *-ES and *-EN over four.

    From task scores around it, the published number comes back.
    """
    sources = {"eu": 2, "gl": 2, "ca": 2, "es": 4, "en": 4}
    rows = []
    for line in paper_rows():
        spread = range(1 - sources[line["language"]], sources[line["language"]], 2) if line["measure"] == "mt" else [0]
        rows += [line | {"task": f"{line['task']}_{step}", "value": line["value"] + 0.7 * step} for step in spread]
    scores = read(tmp_path, rows)
    for number in (3, 7):
        compare_frames(tabulate(scores, *SHOWN[number])[0].data, published(number), 1e-6)


def test_table_4_prints_mean_and_sample_deviation(scores):
    cells = markdown_cells(to_markdown(*tabulate(scores, *SHOWN[4])))
    target = next(line for line in cells if line[1] == "Merge target")
    assert target[2] == "<u>40.0</u> ±1.1", "as many digits as its error has"
    assert cells[1][:3] == ["Llama 3.1 8B", "Joint EU", "46.8 ±2.0"]


# ---- best and second best


@pytest.mark.parametrize("number", SHOWN)
def test_bold_is_the_maximum_of_its_column_in_its_block(scores, number):
    table, text = tabulate(scores, *SHOWN[number])
    cells = markdown_cells(to_markdown(table, text))[1:]
    start = 0
    for block in table.blocks:
        shown = [line[len(table.names) :] for line in cells[start : start + len(block.rows)]]
        start += len(block.rows)
        aside = [cell for index in block.unranked for cell in shown[index]]
        assert not any("**" in cell or "<u>" in cell for cell in aside)
        shown = [line for index, line in enumerate(shown) if index not in block.unranked]
        for column in zip(*shown, strict=True):
            values = [float(re.search(r"\d+\.\d", cell)[0]) for cell in column]
            bold = {value for value, cell in zip(values, column, strict=True) if "**" in cell}
            underlined = {value for value, cell in zip(values, column, strict=True) if "<u>" in cell}
            ranked = sorted(set(values), reverse=True)
            assert (bold, underlined) == ({ranked[0]}, {ranked[1]})
    assert start == len(cells) > 0


def test_equal_printed_scores_share_their_mark(tmp_path):
    values = {"linear": 50.001, "task_arithmetic": 49.999, "dare": 40.0, "breadcrumbs": 30.0}
    rows = [row("mini", method, "eu", "eu", "benchmark", value) for method, value in values.items()]
    spec = {"languages": ["eu"], "backbones": ["mini"], "methods": FOUR_METHODS, "weights": {"each": 1}}
    table, _ = tabulate(read(tmp_path, rows), "methods", spec)
    assert [mark for mark, _ in marks(table.blocks[0], table.digits)] == [0, 1, 1, 2, 0]


def test_where_lower_is_better_the_lowest_score_is_bold(monkeypatch):
    monkeypatch.setitem(MEASURES, "mt", replace(MEASURES["mt"], higher_is_better=False))
    rows = [Row([name], [Score(mean), Score(mean)]) for name, mean in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    digits = {"mt": 1, "benchmark": 1}
    assert marks(Block(rows, ["mt", "benchmark"]), digits) == [[1, 0], [2, 2], [0, 1]]
    assert marks(Block(rows, ["mt", "benchmark"], unranked=(0,)), digits) == [[0, 0], [1, 2], [2, 1]]


def test_reference_models_have_a_block_of_their_own_if_they_have_scores(scores):
    spec = MERGES | {"methods": ["linear"], "baselines": ["salamandra-2b", "not-scored"]}
    table, _ = tabulate(scores, "merges", spec)
    [first, *rest] = table.blocks
    assert [line.names for line in first.rows] == [["Llama 3.1 8B", "Joint EU"], ["salamandra-2b", "Instruct"]]
    assert not any(mark for line in marks(first, table.digits) for mark in line)
    names = ["Base", *(f"Adapted {code}" for code in ("EU", "GL", "CA", "ES")), "Instruct"]
    assert [[line.names[1] for line in block.rows][:6] for block in rest] == [names] * 3
    assert {len(block.rows) for block in rest} == {11}


def test_several_backbones_are_side_by_side(scores):
    spec = LLAMA | {"backbones": ["llama-3.1-8b", "qwen3-8b"], "methods": FOUR_METHODS}
    table, text = tabulate(scores, "methods", spec)
    for number, backbone in ((5, "llama-3.1-8b"), (6, "qwen3-8b")):
        own = table.data[table.data["backbone"] == backbone]
        compare_frames(own, published(number), 0.006)
    assert [heading for _, heading in table.columns] == ["EU", "GL", "CA", "ES", "Avg"] * 2
    assert to_markdown(table, text).count("llama-3.1-8b EU") == 1


# ---- digits


@pytest.mark.parametrize(
    ("half_widths", "digits"),
    [([20.0], 0), ([3.4], 1), ([0.9], 2), ([0.01], 2), ([0.9, 3.0, 3.4], 1), ([math.nan], 1), ([math.nan, 0.5], 2)],
)
def test_a_score_has_the_digits_that_its_error_has(half_widths, digits):
    """Two digits of the standard error, and two decimals at most."""
    assert decimals(half_widths) == digits


# ---- single tasks


def test_every_task_has_a_row_of_its_own(tmp_path):
    rows = []
    for task, gain in (("trivia", 1.0), ("exams", 5.0)):
        for method, target, value in (
            ("base", "", 30.0),
            ("instruct", "", 40.0),
            ("adapted", "eu", 70.0),
            ("linear", "eu", 50.0 + gain),
            ("dare", "eu", 55.0),
        ):
            rows.append(row("mini", method, target, "eu", "benchmark", value) | {"task": task})
    rows.append(row("mini", "base", "", "eu", "benchmark", 10.0) | {"task": "of base alone"})
    files = LAYOUTS["tasks"].make(Sources(scores=read(tmp_path, rows)), MINI | {"weights": {"each": 1}}, "t")
    header, *lines = markdown_cells(files["md"])
    assert header == ["Language", "Measure", "Task", "Base", "Adapted", "Instruct", "linear", "dare"]
    assert lines == [
        ["eu", "Benchmarks", "exams", "30.0", "70.0", "<u>40.0</u>", "**55.0**", "**55.0**"],
        ["", "Benchmarks", "trivia", "30.0", "70.0", "40.0", "<u>51.0</u>", "**55.0**"],
    ]
    assert "Bold: best of its row" in files["md"]
    assert pd.read_csv(io.StringIO(files["csv"]))["mini_linear"].tolist() == [55.0, 51.0]


# ---- which merge is shown


def test_mt_alone_gives_table_8s_choices(scores):
    """The docstring's claim: BLEU picks all 15 rows, benchmark accuracy 9, the mean of both 11."""
    summary = Summary(scores)
    chosen = published(8).query("variant == 'merge'")

    def candidates(line: dict) -> list[Model]:
        target, weight = (ALL, 0.25) if line["language"] == "multi" else (line["language"], 1.0)
        weights = {"linear": weight, "task_arithmetic": weight, "nearswap": 0.5}
        models = [Model(line["backbone"], name, tuple(target.split("+")), w) for name, w in weights.items()]
        return [model for model in models if model in summary.models]

    def agreeing(measures: list[str]) -> int:
        count = 0
        for line in chosen.to_dict("records"):
            means = {
                model: sum(summary.score(model, code, measure).mean for code in model.target for measure in measures)
                for model in candidates(line)
            }
            count += max(means, key=means.get).method == line["method"]
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
    table, text = tabulate(read(tmp_path, rows), "merges", spec)
    assert table.blocks[-1].rows[1].names == ["mini", "Merge EU", f"{weight:g}"]
    assert list(table.data["weight"]) == ["", f"{weight:g}"]
    assert "Each row shows the w with the highest BLEU" in text


def test_there_is_no_choice_without_a_score(scores):
    candidates = [Model("mini", "linear", ("eu",), 1.0), Model("mini", "dare", ("eu",), 1.0)]
    assert best_model(candidates, Summary(scores)) is None
    assert best_model(candidates[:1], Summary(scores)) == candidates[0]


def test_the_caption_says_which_weights_are_shown(scores):
    _, text = tabulate(scores, *SHOWN[8])
    assert "Each row shows the method with the highest BLEU into the target languages of the merge" in text
    assert "w = 1 (merges of one language), 0.25 (merges of all languages) for Task Arithmetic, Linear." in text
    assert "w = 0.5 (merges of one language) for nearswap." in text


# ---- measures: those that the run has, and no others


def with_measures(tmp_path, *measures: str, languages: tuple[str, ...] = ("eu",)) -> pd.DataFrame:
    """Instruct and two methods at two weights, scored by some measures."""
    rows = []
    for language in languages:
        for measure in measures:
            rows.append(row("mini", "instruct", "", language, measure, 40.0))
            for method in ("linear", "dare"):
                for weight in (0.5, 1.0):
                    value = 50.0 + weight + len(method)
                    rows.append(row("mini", method, "eu", language, measure, value) | {"weight": weight})
    return read(tmp_path, rows)


MINI = {"languages": ["eu"], "backbones": ["mini"], "methods": ["linear", "dare"]}


@pytest.mark.parametrize(
    "measures",
    [("benchmark", "mt", "ifeval", "fidelity", "safety"), ("benchmark",), ("mt", "safety"), ("ifeval",)],
    ids="+".join,
)
def test_tables_show_the_measures_that_the_run_has(tmp_path, measures):
    scores = with_measures(tmp_path, *measures)
    titles = [MEASURES[name].title for name in measures]
    of_methods, _ = tabulate(scores, "methods", MINI | {"weights": {"each": 1}})
    assert [block.rows[0].names[0] for block in of_methods.blocks] == titles
    of_best, _ = tabulate(scores, "best", MINI)
    assert of_best.columns == [(part, title) for part in ("Test", "All") for title in titles]
    if measures != ("ifeval",):  # which has a table of its own
        of_merges, text = tabulate(scores, "merges", MINI | {"weights": {"each": 1}})
        assert [group for group, _ in of_merges.columns] == [title for title in titles if title != "IFEval"]
        assert "IFEval" not in text
    assert not any(
        score.mean != score.mean for block in of_methods.blocks for line in block.rows for score in line.scores
    )


def test_tables_show_the_measures_that_they_name(tmp_path):
    """In the order in which they are named; chrF++ only then, since it judges the same answers as
    BLEU.
    """
    scores = with_measures(tmp_path, "benchmark", "mt", "chrf", "fidelity")
    spec = MINI | {"weights": {"each": 1}}
    for measures, titles in ([], ["Benchmarks", "MT", "Fidelity"]), (["fidelity", "chrf"], ["Fidelity", "chrF++"]):
        own = spec | {"measures": measures}
        assert [group for group, _ in tabulate(scores, "merges", own)[0].columns] == titles
        assert [block.rows[0].names[0] for block in tabulate(scores, "methods", own)[0].blocks] == titles
        of_best, _ = tabulate(scores, "best", MINI | {"measures": measures})
        assert of_best.columns == [(part, title) for part in ("Test", "All") for title in titles]
    columns = tabulate(scores, "merges", spec | {"measures": ["chrf", "fidelity"]})[0].columns
    assert columns == [("chrF++", "*-EU"), ("Fidelity", "EU")], "chrF++ is of translations into a language"


def test_w_may_be_chosen_by_fidelity(tmp_path):
    rows = []
    for weight, accuracy, fidelity in ((0.5, 60.0, 90.0), (1.0, 70.0, 40.0)):
        for measure, value in (("benchmark", accuracy), ("fidelity", fidelity)):
            lines = row("mini", "linear", "eu", "eu", measure, value) | {"weight": weight}
            rows += [lines | {"part": part} for part in ("all", "dev", "test")]
    for criterion, weight in ((["benchmark"], "1"), (["benchmark", "fidelity"], "0.5"), (["fidelity"], "0.5")):
        spec = MINI | {"methods": ["linear"], "criterion": criterion}
        assert tabulate(read(tmp_path, rows), "best", spec)[0].blocks[0].rows[1].names[3:] == [weight, weight]


def test_suspicious_scores_are_marked_and_the_caption_says_why(tmp_path):
    first = row("mini", "linear", "eu", "eu", "mt", 50.0) | {"remarks": "prompts cut 3%; empty answers 20%"}
    second = row("mini", "linear", "eu", "eu", "benchmark", 40.0)
    scores = read(tmp_path, [first, second, row("mini", "instruct", "", "eu", "mt", 30.0) | {"remarks": ""}])
    spec = {**MINI, "methods": ["linear"], "weights": {"each": 1}}
    table, text = tabulate(scores, "merges", spec)
    assert "†: look at the answers before you trust the score; there are empty answers, prompts cut (" in text
    cells = [line for line in markdown_cells(to_markdown(table, text)) if line[1] == "Merge EU"]
    assert cells == [["mini", "Merge EU", "40.0", "**50.0**†"]] or cells == [["", "Merge EU", "40.0", "**50.0**†"]]
    assert r"\textbf{50.0}$\dagger$" in to_latex(table, text, "x")
    of_methods, _ = tabulate(scores, "methods", spec)
    assert [len(score.remarks) for line in of_methods.blocks[1].rows[1:] for score in line.scores] == [2, 2], (
        "averages too"
    )
    clean = scores.assign(remarks="")
    assert "†" not in tabulate(clean, "merges", spec)[1]


def test_a_measure_of_one_language_has_no_empty_columns(tmp_path):
    """As in the shipped run diploma: safety in English alone, which is not merged in."""
    rows = [row("mini", "instruct", "", "en", "safety", 90.0), row("mini", "linear", "eu", "en", "safety", 80.0)]
    rows += [row("mini", "linear", "eu", code, "benchmark", 50.0) for code in ("eu", "en")]
    scores = read(tmp_path, rows)
    spec = {**MINI, "methods": ["linear"], "evaluation_languages": ["en"], "weights": {"each": 1}}
    table, _ = tabulate(scores, "merges", spec)
    assert table.columns == [("Benchmarks", "EU"), ("Benchmarks", "EN"), ("Safety", "EN")]
    of_methods, _ = tabulate(scores, "methods", spec)
    assert [line.names for block in of_methods.blocks for line in block.rows] == [
        ["Benchmarks", "Instruct"],
        ["Benchmarks", "linear"],
    ]


# ---- parts: choosing w on one half of the documents


def halves(method: str, weight: float | str, dev: float, test: float, measure="benchmark", target="eu") -> list[dict]:
    line = row("mini", method, target, "eu", measure, 0) | {"weight": weight, "n": 100}
    values = {"all": (dev + test) / 2, "dev": dev, "test": test}
    return [line | {"part": part, "value": value} for part, value in values.items()]


def best_table(tmp_path, rows: list[dict], **changes) -> tuple[Table, str]:
    return tabulate(read(tmp_path, rows), "best", MINI | {"methods": ["linear"], **changes})


def test_best_w_is_chosen_on_dev_and_reported_on_test(tmp_path):
    """w = 2 is best on all because of test; dev prefers w = 1, whose test score is what is
    reported.
    """
    rows = [
        *halves("linear", 1, dev=60, test=50),
        *halves("linear", 2, dev=55, test=70),
        *halves("instruct", "", 40, 44, target=""),
    ]
    table, text = best_table(tmp_path, rows)
    instruct, linear = table.data.to_dict("records")
    assert (linear["w_dev"], linear["benchmark_test"], linear["w_all"], linear["benchmark_all"]) == ("1", 50, "2", 62.5)
    assert (instruct["w_dev"], instruct["benchmark_test"], instruct["benchmark_all"]) == ("", 44, 42)
    assert linear["benchmark_test_low"] < 50 < linear["benchmark_test_high"]
    assert "highest mean of Benchmarks, MT in" in text
    assert markdown_cells(to_markdown(table, text))[2][:5] == ["", "EU", "linear", "1", "2"]


def test_the_criterion_decides(tmp_path):
    rows = [*halves("linear", 1, 60, 60), *halves("linear", 2, 70, 70)]
    rows += [*halves("linear", 1, 50, 50, "ifeval"), *halves("linear", 2, 10, 10, "ifeval")]
    for criterion, weight in ((["benchmark", "mt"], "2"), (["benchmark", "ifeval"], "1"), (["ifeval"], "1")):
        table, _ = best_table(tmp_path, rows, criterion=criterion)
        assert list(table.data["w_dev"]) == ["", weight]


def test_scores_without_parts_leave_the_choice_on_dev_missing(tmp_path):
    rows = [halves("linear", weight, value, value)[0] for weight, value in {1: 60, 2: 70}.items()]
    assert {line["part"] for line in rows} == {"all"}
    table, text = best_table(tmp_path, rows)
    assert markdown_cells(to_markdown(table, text))[2][3:] == ["—", "2", "—", "70.0"]


def test_a_method_with_one_weight_is_no_choice(tmp_path):
    table, text = best_table(tmp_path, halves("linear", 1, 60, 60))
    assert table.data.empty and not table.blocks
    assert markdown_cells(to_markdown(table, text))[0][:5] == ["Backbone", "Target", "Model", "w dev", "w all"]
    assert r"\midrule" in to_latex(table, text, "tab:t")


def test_other_tables_show_all_documents(tmp_path):
    table, _ = tabulate(
        read(tmp_path, halves("linear", 1, dev=60, test=50)), "methods", MINI | {"weights": {"each": 1}}
    )
    assert table.data["eu"][1] == 55


# ---- missing scores


def test_a_missing_score_is_shown_as_missing(tmp_path):
    gone = without(paper_rows(), backbone="llama-3.1-8b", method="breadcrumbs", target="gl", measure="mt")
    table, text = tabulate(read(tmp_path, gone), "methods", LLAMA | {"methods": FOUR_METHODS})
    line = markdown_cells(to_markdown(table, text))[12]
    assert line[1] == "breadcrumbs"
    assert (line[3], line[6]) == ("—", "—"), "the cell and the average that it belongs to"
    assert r" & breadcrumbs & \underline{13.3} & --- & 0.4 & 22.5 & --- \\" in to_latex(table, text, "tab:t")
    assert "llama-3.1-8b,mt,breadcrumbs,13.3500,,0.4200,22.4600," in table.data.to_csv(index=False, float_format="%.4f")


def test_rows_that_are_asked_for_are_shown_without_a_score_and_unknown_names_are_no_error(scores):
    table, text = tabulate(scores, "merges", MERGES | {"backbones": ["nobody"], "methods": ["linear"], "baselines": []})
    cells = markdown_cells(to_markdown(table, text))[1:]
    assert [line[1] for line in cells] == ["Instruct", "Merge EU", "Merge GL", "Merge CA", "Merge ES", "Merge multi"]
    assert {cell for line in cells for cell in line[2:]} == {"—"}


def test_no_multilingual_row_where_the_spec_gives_no_weight_for_it(scores):
    table, _ = tabulate(scores, "merges", LLAMA | {"methods": ["linear"]})
    assert list(table.data["language"]) == ["eu", "", "eu", "gl", "ca", "es", "", "eu", "gl", "ca", "es"]


# ---- files


@pytest.mark.parametrize("layout", MODULES)
def test_latex_is_balanced(scores, layout):
    spec = {"languages": LANGUAGES, "backbones": ["llama-3.1-8b"], "title": r"50% of $x_1$ & a \command {so} #1 ~^."}
    options = {"methods": ["linear", "task_arithmetic"], "weights": {"each": 1}}
    spec |= {name: value for name, value in options.items() if name in LAYOUTS[layout].options}
    text = LAYOUTS[layout].make(Sources(scores=scores), spec, "x")["tex"]
    assert r"50\% of \$x\_1\$ \& a \textbackslash{}command \{so\} \#1 \textasciitilde{}\textasciicircum{}." in text
    assert all(text.count(rf"\{rule}") == 1 for rule in ("toprule", "bottomrule", "caption{", "label{tab:x}"))
    assert re.findall(r"\\begin\{(.*?)\}", text) == re.findall(r"\\end\{(.*?)\}", text)[::-1]
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = len(re.search(r"\{@\{\}([lr]+)@\{\}\}", text)[1])
    for line in body:
        spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert line.count("&") - line.count(r"\&") + 1 + sum(spans) - len(spans) == columns


def test_three_files_hold_the_same_table(scores):
    files = LAYOUTS["merges"].make(Sources(scores=scores), SHOWN[3][1], "table3")
    written = pd.read_csv(io.StringIO(files["csv"])).fillna({"language": "", "method": "", "weight": ""})
    compare_frames(written, published(3), 1e-6)
    assert r"\label{tab:table3}" in files["tex"]
    assert len(markdown_cells(files["md"])) == 1 + len(written)


# ---- mistakes


@pytest.mark.parametrize(
    ("layout", "spec", "message"),
    [
        ("merges", MERGES | {"methods": ["linear"], "colour": 1}, "unknown key colour"),
        ("adapted", MERGES, "unknown key baselines, weights"),
        ("merges", {"languages": ["eu"]}, "lacks the key backbones, methods, weights"),
        ("merges", [], "expected a mapping"),
        ("merges", MERGES | {"methods": []}, "methods: found []"),
        ("merges", MERGES | {"languages": [False], "methods": ["linear"]}, "Quote the words no"),
        ("merges", MERGES | {"methods": ["linear"], "weights": {"all": 1}}, "expected {each: 1.0, multi: 0.25}"),
        ("merges", MERGES | {"methods": ["linear"], "weights": {"each": "good"}}, "each is 'good'"),
    ],
)
def test_a_wrong_spec_is_explained(scores, layout, spec, message):
    with pytest.raises(UserError, match=re.escape(message)):
        LAYOUTS[layout].make(Sources(scores=scores), spec, "t")
