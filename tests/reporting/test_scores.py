"""scores.csv: gathered from sealed results, read again, and refused where its scores do not
compare.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from langmerge.errors import UserError
from langmerge.evaluation.sealed import read_sealed, write_sealed
from langmerge.reporting.scores import COLUMNS, collect, read_scores, rows
from support.paper_scores import read, row, scores_file

HEADER = ",".join(COLUMNS) + "\n"
CELL = {"backbone": "mini", "method": "linear", "target": "eu", "weight": 1.0}


def score(task: str = "t", **changes) -> dict:
    """One score of a result, as `langmerge evaluate` writes it."""
    return {
        "language": "eu",
        "measure": "benchmark",
        "task": task,
        "metric": "acc",
        "seed": None,
        "key": "abc",
        "fingerprint": "f00d",
        "value": 55.0,
        "stderr": 5,
        "n": 100,
        **changes,
    }


def result(*scores: dict, **cell) -> dict:
    return {"cell": CELL | cell, "scores": [*scores]}


def gathered(*results: dict) -> pd.DataFrame:
    return collect((Path(f"{index}.json"), one) for index, one in enumerate(results))


# ---- collecting


def test_there_is_one_row_per_score_and_part(tmp_path):
    parts = {"dev": {"value": 60, "stderr": 7, "n": 51}, "test": {"value": 50, "stderr": 7.1, "n": 49}}
    gathered(result(score("u")), result(score("t", parts=parts))).to_csv(tmp_path / "scores.csv", index=False)
    scores = read_scores(tmp_path / "scores.csv")
    assert list(scores[["task", "part", "value", "n"]].itertuples(index=False, name=None)) == [
        ("t", "all", 55, 100),
        ("t", "dev", 60, 51),
        ("t", "test", 50, 49),
        ("u", "all", 55, 100),
    ]


def test_the_file_is_the_same_whatever_the_order_of_results():
    """Sorted, whole numbers without a point, empty cells where values are missing."""
    instruct = {"method": "instruct", "target": "", "weight": None}
    one = result(score(value=55.25, seed=21))
    two = result(score(value=None, stderr=None, n=0, seed=21), **instruct)
    text = gathered(one, two).to_csv(index=False)
    assert text == gathered(two, one).to_csv(index=False)
    assert text == HEADER + (
        "mini,instruct,,,eu,benchmark,t,21,all,,,0,f00d,,\n"
        "mini,linear,eu,1.0,eu,benchmark,t,21,all,55.25,5.0,100,f00d,,\n"
    )


def test_translations_say_what_the_tokenizer_makes_of_a_word():
    translated = score(measure="mt", fertility={"words": 8, "tokens": 20})
    table = gathered(result(translated, score("u"), score("v", measure="mt", fertility={"words": 0, "tokens": 0})))
    assert table.set_index("task")["tokens_per_word"].dropna().to_dict() == {"t": 2.5}


@pytest.mark.parametrize(
    "broken", [{}, {"cell": CELL}, {"cell": CELL, "scores": [1]}, {"cell": 1, "scores": [score()]}]
)
def test_what_is_not_a_result_is_named(broken):
    with pytest.raises(UserError, match=r"x\.json is not a result of `langmerge evaluate`"):
        rows(broken, Path("x.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("55.0", "65.0"), "changed after it was written"),
        (lambda text: text[:-20], "is damaged"),
        (lambda text: re.sub(r'"checksum": "\w+",?', "", text), "has no checksum"),
    ],
)
def test_a_result_that_was_edited_or_cut_is_refused(tmp_path, change, message):
    path = tmp_path / "eu.json"
    write_sealed(path, result(score()))
    assert rows(read_sealed(path), path)[0]["value"] == 55
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(UserError, match=message) as error:
        read_sealed(path)
    assert "eu.json" in str(error.value) and "langmerge forget" in str(error.value)


# ---- fingerprints


def test_scores_of_one_task_with_two_fingerprints_are_refused():
    """Both models are named, also if one of them is a reference model."""
    old = result(score(fingerprint="01d"), method="instruct", target="", weight=None)
    with pytest.raises(UserError) as error:
        gathered(old, result(score(fingerprint="2e2")), result(score(fingerprint="2e2"), weight=2.0))
    for word in ("mini/instruct/none/w0", "mini/linear/eu/w1 ", "on t", "01d and 2e2", "langmerge forget"):
        assert word in str(error.value)


def test_fingerprints_may_differ_between_tasks_seeds_languages_and_backbones():
    scores = [
        score(fingerprint="1"),
        score("u", fingerprint="2"),
        score(seed=21, fingerprint="3"),
        score(seed=22, fingerprint="4"),
        score(language="gl", fingerprint="5"),
    ]
    assert len(gathered(result(*scores), result(score(fingerprint="6"), backbone="other"))) == 6


def test_a_table_is_not_read_from_mixed_scores(tmp_path):
    """Also a file that was put together by hand."""
    lines = [row("mini", "linear", "eu", "eu", "mt", 1.0), row("mini", "dare", "eu", "eu", "mt", 1.0)]
    assert len(read(tmp_path, lines)) == 2
    lines[1]["fingerprint"] = "bee"
    with pytest.raises(UserError, match=r"scores\.csv: mini/linear/eu/w1 and mini/dare/eu/w1 do not compare on mt_eu"):
        read(tmp_path, lines)


def test_a_score_without_a_fingerprint_is_refused(tmp_path):
    with pytest.raises(UserError, match="mini/linear/eu/w1 has a score of mt_eu without a fingerprint"):
        read(tmp_path, [row("mini", "linear", "eu", "eu", "mt", 1.0) | {"fingerprint": ""}])


# ---- reading


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a CSV file of scores"),
        (HEADER, "has no scores, only a header"),
        ("backbone,method\nmini,base\n", "no column target, weight"),
        (HEADER + "mini,linear,eu,1,eu,mt,t,,all,much,,5,f\n", "line 2: value is 'much'"),
        (HEADER + "mini,linear,eu,1,eu,mt,t,x,all,1,,5,f\n", "line 2: seed is 'x'"),
        (HEADER + "mini,linear,eu,,eu,mt,t,,all,1,,5,f\n", "line 2: a merge (linear) without a weight"),
        (HEADER + "mini,base,,1,eu,mt,t,,all,1,,5,f\n", "line 2: a reference model (base) with a weight"),
        (HEADER + 2 * "mini,base,,,eu,mt,t,,all,1,,5,f\n", "line 3: a second score"),
        (HEADER + "mini,base,,,eu,mt,t,,train,1,,5,f\n", "line 2: part is 'train'"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path, text, message):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_scores(tmp_path / "scores.csv")
    assert "scores.csv" in str(error.value)


def test_a_file_that_is_not_there_is_explained(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.csv: no such file"):
        read_scores(tmp_path / "nothing.csv")


def test_a_language_named_like_a_missing_value_is_read_as_it_is(tmp_path):
    scores = read_scores(scores_file(tmp_path, [row("NA", "linear", "nan", "null", "mt", 1.0)]))
    assert json.loads(scores[["backbone", "target", "language"]].to_json(orient="records")) == [
        {"backbone": "NA", "target": "nan", "language": "null"}
    ]
