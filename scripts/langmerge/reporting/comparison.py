"""A run beside a paper: each published number, the run's, the difference, and whether it is within noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from langmerge.reporting.published import AVERAGE, EACH, Number, Paper
from langmerge.reporting.scores import Model, Score, Summary, combined

MEASURES = {
    "benchmark": "Benchmarks (accuracy)",
    "mt": "Translation (BLEU)",
    "ifeval": "Instruction following (IFEval)",
    "safety": "Safety",
}
ERRORS = {"mt": "bootstrap"}
"""What an interval's error is, by measure; binomial where nothing is said."""

RULE = (
    "Within noise: the published number lies in this run's 95% interval, over the choice of documents (binomial for shares such as accuracy and "
    "instruction following, bootstrap for BLEU)."
)
MISSING = "—"
TEMPLATE = Path(__file__).with_name("comparison.html")


def compare(paper: Paper, scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row a published number; a number that several tables print has one row, with all their names."""
    summary = Summary(scores)
    places: dict[Number, list[str]] = {}
    for number in paper.numbers:
        places.setdefault(number._replace(table=""), []).append(number.table)
    own = [number.language for number in places if number.model.target == number.language]
    languages = list(dict.fromkeys(own))
    rows = []
    for number, tables in places.items():
        ours = score(summary, number, languages)
        known = not math.isnan(ours.low + ours.high)
        rows.append(
            {
                "tables": " ".join(tables),
                **number.model._asdict(),
                "weight": number.model.weight or None,
                "language": number.language,
                "measure": number.measure,
                "published": number.value,
                "ours": ours.mean,
                "low": ours.low,
                "high": ours.high,
                "difference": ours.mean - number.value,
                "error": ERRORS.get(number.measure, "binomial"),
                "within_noise": {True: "yes", False: "no"}[ours.low <= number.value <= ours.high] if known else "",
            }
        )
    return pd.DataFrame(rows)


def score(summary: Summary, number: Number, languages: list[str]) -> Score:
    """Return the run's score where a published number belongs; an average is over each language's own merge."""
    if number.language != AVERAGE:
        return summary.score(number.model, number.language, number.measure)
    return combined(summary.score(number.model._replace(target=code), code, number.measure) for code in languages)


def totals(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return how well a run agrees with the paper, measure by measure."""
    found = []
    for measure, rows in table.groupby("measure", sort=False):
        ours = rows.dropna(subset="ours")
        known = ours[ours["within_noise"] != ""]
        found.append(
            {
                "measure": MEASURES.get(measure, measure),
                "published": len(rows),
                "ours": len(ours),
                "within": f"{(known['within_noise'] == 'yes').sum()} of {len(known)}" if len(known) else MISSING,
                "bias": f"{ours['difference'].mean():+.2f}" if len(ours) else MISSING,
                "spread": f"{ours['difference'].abs().mean():.2f}" if len(ours) else MISSING,
            }
        )
    return found


def sections(table: pd.DataFrame, labels: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """Return for each measure and backbone a grid of the paper's numbers: a row a model, a column a test language."""
    found = []
    for (measure, backbone), rows in table.groupby(["measure", "backbone"], sort=False):
        languages = list(dict.fromkeys(rows["language"]))
        languages.sort(key=AVERAGE.__eq__)
        grid: dict[Model, dict[str, Any]] = {}
        for row in rows.to_dict("records"):
            weight = 0.0 if pd.isna(row["weight"]) else row["weight"]
            grid.setdefault(Model(row["backbone"], row["method"], row["target"], weight), {})[row["language"]] = row
        lines = []
        for model, cells in grid.items():
            tables = sorted({table for row in cells.values() for table in row["tables"].split()})
            lines.append((name(model, labels), " ".join(tables), cells))
        found.append(
            {
                "title": MEASURES.get(measure, measure),
                "backbone": labels.get("backbones", {}).get(backbone, backbone),
                "languages": languages,
                "lines": lines,
            }
        )
    return found


def name(model: Model, labels: dict[str, dict[str, str]]) -> str:
    """Return what a model is called in a row: Adapted EU, Linear CA+ES+EU+GL, w = 0.25."""
    method = labels.get("methods", {}).get(model.method, model.method.capitalize())
    target = "each language" if model.target == EACH else model.target.upper()
    return f"{method} {target}".strip() + (f", w = {model.weight:g}" if model.weight else "")


def text(row: dict[str, Any] | None) -> str:
    """Return a cell of the Markdown table: published, ours and the difference, marked where it is more than noise."""
    if row is None:
        return ""
    if math.isnan(row["ours"]):
        return f"{row['published']:.2f} / {MISSING}"
    return f"{row['published']:.2f} / {row['ours']:.2f} ({row['difference']:+.2f}{'!' if row['within_noise'] == 'no' else ''})"


def to_markdown(table: pd.DataFrame, paper: Paper, labels: dict[str, dict[str, str]]) -> str:
    """Return the comparison as Markdown: the totals, then a table a measure and backbone."""
    heads = ["Measure", "Published", "Ours", "Within noise", "Mean difference", "Mean size of it"]
    parts = [
        f"# Beside {paper.source}",
        " ".join(filter(None, [RULE, paper.note])),
        pd.DataFrame(totals(table)).set_axis(heads, axis=1),
    ]
    parts.append(f"Published / ours (difference); !: more than noise; {MISSING}: not in this run.")
    for section in sections(table, labels):
        lines = [
            [model, tables, *(text(cells.get(code)) for code in section["languages"])]
            for model, tables, cells in section["lines"]
        ]
        parts += [f"## {section['title']}, {section['backbone']}"]
        parts += [pd.DataFrame(lines, columns=["Model", "Tables", *(code.upper() for code in section["languages"])])]
    written = [
        part if isinstance(part, str) else part.to_markdown(index=False, disable_numparse=True) for part in parts
    ]
    return "\n\n".join(written) + "\n"


def to_html(table: pd.DataFrame, paper: Paper, labels: dict[str, dict[str, str]]) -> str:
    """Return the comparison as one page that needs nothing else."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        paper=paper, rule=RULE, totals=totals(table), sections=sections(table, labels), missing=MISSING
    )
