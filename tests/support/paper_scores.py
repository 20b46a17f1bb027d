"""The paper's published tables (config/published), turned back into tidy rows of scores, and
scores.csv in tests.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from langmerge.model import REFERENCES
from langmerge.reporting.scores import COLUMNS, read_scores
from support.paths import ROOT

PAPER = ROOT / "config" / "published" / "merge_and_conquer"
LANGUAGES = ["eu", "gl", "ca", "es"]
BACKBONES = ["llama-3.1-8b", "qwen3-8b", "qwen3-14b"]
BASELINES = ["salamandra-2b", "salamandra-7b", "alia-40b"]
WEIGHTS = {"each": 1.0, "multi": 0.25}
NEARSWAP = {"each": 0.5}
ALL = "ca+es+eu+gl"


def scores_file(folder: Path, rows: list[dict]) -> Path:
    """Write scores.csv with these rows."""
    path = folder / "scores.csv"
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return path


def read(folder: Path, rows: list[dict]) -> pd.DataFrame:
    """The rows as `read_scores` returns them from a file."""
    return read_scores(scores_file(folder, rows))


def published(number: int) -> pd.DataFrame:
    """One of the paper's tables as it was printed."""
    return pd.read_csv(PAPER / f"table{number}.csv", keep_default_na=False)


def row(
    backbone: str, method: str, target: str, language: str, measure: str, value: float, seed: int | str = ""
) -> dict:
    """One row of scores.csv, of a model with the paper's weights."""
    weights = NEARSWAP if method == "nearswap" else WEIGHTS
    weight = "" if method in REFERENCES else weights["multi" if target == ALL else "each"]
    names = {"backbone": backbone, "method": method, "target": target, "weight": weight, "language": language}
    return {
        **names,
        "measure": measure,
        "task": f"{measure}_{language}",
        "seed": seed,
        "part": "all",
        "value": value,
        "stderr": "",
        "n": 803,
        "fingerprint": "f00d",
    }


def model(line: dict) -> tuple[str, str, str]:
    """Backbone, method and target of a line of a published table."""
    target = {"multi": ALL, "target": line.get("test_language")}.get(line["language"], line["language"])
    return line["backbone"], line["method"] if line["variant"] == "merge" else line["variant"], target


def paper_rows() -> list[dict]:
    """Tables 2 to 8 as rows of scores.csv; a seed's three values are mean - sd, mean, mean + sd,
    whose sample SD is sd.
    """
    rows = []
    for line in published(2).to_dict("records"):
        for language in [*LANGUAGES, "en"]:
            rows.append(row(line["backbone"], line["variant"], line["language"], language, "benchmark", line[language]))
    for line in [line for number in (3, 7, 8) for line in published(number).to_dict("records")]:
        for measure in ("benchmark", "mt"):
            for language in [*LANGUAGES, "en"]:
                rows.append(row(*model(line), language, measure, line[f"{measure}_{language}"]))
    for line in published(4).to_dict("records"):
        for seed, sign in ((21, -1), (22, 0), (23, 1)):
            rows.append(row(*model(line), line["test_language"], "ifeval", line["mean"] + sign * line["sd"], seed))
    known = {(line["backbone"], line["method"], line["target"], line["language"], line["measure"]) for line in rows}
    for line in [line for number in (5, 6) for line in published(number).to_dict("records")]:
        for language in LANGUAGES:
            if (line["backbone"], line["method"], language, language, line["measure"]) not in known:
                for seed in (21, 22, 23) if line["measure"] == "ifeval" else ("",):
                    rows.append(
                        row(line["backbone"], line["method"], language, language, line["measure"], line[language], seed)
                    )
    return pd.DataFrame(rows).drop_duplicates().to_dict("records")
