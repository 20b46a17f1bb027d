"""The paper's published tables (config/published, in the columns that scripts/table.py writes) turned back into tidy rows of scores."""

from __future__ import annotations

import pandas as pd

from support.paths import ROOT

PAPER = ROOT / "config" / "published" / "merge_and_conquer"
LANGUAGES = ["eu", "gl", "ca", "es"]
BACKBONES = ["llama-3.1-8b", "qwen3-8b", "qwen3-14b"]
BASELINES = ["salamandra-2b", "salamandra-7b", "alia-40b"]
WEIGHTS = {"each": 1.0, "multi": 0.25}
NEARSWAP = {"each": 0.5}
ALL = "ca+es+eu+gl"


def published(number: int) -> pd.DataFrame:
    return pd.read_csv(PAPER / f"table{number}.csv", keep_default_na=False)


def row(
    backbone: str, method: str, target: str, language: str, measure: str, value: float, seed: int | str = ""
) -> dict:
    weights = NEARSWAP if method == "nearswap" else WEIGHTS
    weight = "" if method in ("base", "instruct", "adapted", "joint") else weights["multi" if target == ALL else "each"]
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
    }


def model(line: dict) -> tuple[str, str, str]:
    target = {"multi": ALL, "target": line.get("test_language")}.get(line["language"], line["language"])
    return line["backbone"], line["method"] if line["variant"] == "merge" else line["variant"], target


def paper_rows() -> list[dict]:
    """Tables 2 to 8 as rows of scores.csv; a seed's three values are mean - sd, mean, mean + sd, whose sample SD is sd."""
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
