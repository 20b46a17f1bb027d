"""The layout compare: a paper's published numbers beside the run's, with the difference and whether
it is noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from langmerge.measures import MEASURES
from langmerge.model import Model
from langmerge.reporting.printing import MISSING, markdown_escape, markdown_table
from langmerge.reporting.published import AVERAGE, EACH, Number, Paper, read_published
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import Spec, read_spec
from langmerge.reporting.summary import Score, Summary, combined

RULE = (
    "Within noise: the published number lies in the 95% interval of this run's score. The interval is about the choice"
    " of documents (binomial for shares such as accuracy and instruction following, bootstrap for BLEU)."
)
TEMPLATE = Path(__file__).with_name("compare.html")


@dataclass(frozen=True, kw_only=True)
class CompareSpec(Spec):
    """What the comparison is told."""

    languages: list[str] | tuple[str, ...] = ()


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(CompareSpec, spec)
    paper = read_published(sources.published)
    table = compare(paper, sources.scores)
    return {
        "csv": table.to_csv(index=False, float_format="%.4f"),
        "md": to_markdown(table, paper, settings),
        "html": to_html(table, paper, settings),
    }


def compare(paper: Paper, scores: pd.DataFrame) -> pd.DataFrame:
    """One row per published number; a number that several tables print has one row, with all their
    names.
    """
    summary = Summary(scores)
    tables: dict[Number, list[str]] = {}
    for number in paper.numbers:
        tables.setdefault(number._replace(table=""), []).append(number.table)
    languages = list(dict.fromkeys(number.language for number in tables if number.model.target == (number.language,)))
    rows = []
    for number, names in tables.items():
        ours = score_of(summary, number, languages)
        known = not math.isnan(ours.low + ours.high)
        rows.append(
            {
                "tables": " ".join(names),
                **number.model.columns(),
                "language": number.language,
                "measure": number.measure,
                "published": number.value,
                "ours": ours.mean,
                "low": ours.low,
                "high": ours.high,
                "difference": ours.mean - number.value,
                "error": MEASURES[number.measure].interval,
                "within_noise": {True: "yes", False: "no"}[ours.low <= number.value <= ours.high] if known else "",
            }
        )
    return pd.DataFrame(rows)


def score_of(summary: Summary, number: Number, languages: list[str]) -> Score:
    """The run's score where a published number belongs; an average is over each language's own
    merge.
    """
    if number.language != AVERAGE:
        return summary.score(number.model, number.language, number.measure)
    model = number.model
    own = [Model(model.backbone, model.method, (language,), model.weight) for language in languages]
    scores = [summary.score(merge, language, number.measure) for merge, language in zip(own, languages, strict=True)]
    return combined(scores)


def totals(table: pd.DataFrame) -> list[dict[str, Any]]:
    """How well the run agrees with the paper, one row per measure."""
    rows = []
    for measure, published in table.groupby("measure", sort=False):
        ours = published.dropna(subset="ours")
        known = ours[ours["within_noise"] != ""]
        rows.append(
            {
                "measure": MEASURES[measure].axis,
                "published": len(published),
                "ours": len(ours),
                "within": f"{(known['within_noise'] == 'yes').sum()} of {len(known)}" if len(known) else MISSING,
                "mean": f"{ours['difference'].mean():+.2f}" if len(ours) else MISSING,
                "absolute": f"{ours['difference'].abs().mean():.2f}" if len(ours) else MISSING,
            }
        )
    return rows


def sections(table: pd.DataFrame, spec: Spec) -> list[dict[str, Any]]:
    """For each measure and backbone, the paper's numbers: one row per model, one column per test
    language.
    """
    found = []
    for (measure, backbone), rows in table.groupby(["measure", "backbone"], sort=False):
        languages = sorted(dict.fromkeys(rows["language"]), key=AVERAGE.__eq__)
        cells: dict[Model, dict[str, dict[str, Any]]] = {}
        for row in rows.to_dict("records"):
            cells.setdefault(Model.of_columns(row), {})[row["language"]] = row
        lines = []
        for model, by_language in cells.items():
            names = sorted({name for row in by_language.values() for name in row["tables"].split()})
            lines.append((model_name(model, spec), " ".join(names), by_language))
        title, label = MEASURES[measure].axis, spec.label("backbones", backbone)
        found.append({"title": title, "backbone": label, "languages": languages, "lines": lines})
    return found


def model_name(model: Model, spec: Spec) -> str:
    """What a model is called in a row: Adapted EU; Linear CA+ES+EU+GL, w = 0.25."""
    method = spec.labels.get("methods", {}).get(model.method, model.method.capitalize())
    target = "each language" if model.target == (EACH,) else "+".join(model.target).upper()
    return f"{method} {target}".strip() + (f", w = {model.weight:g}" if model.is_merge else "")


def cell_text(row: dict[str, Any] | None) -> str:
    """A cell of the Markdown table: published, ours and the difference, marked where it is more
    than noise.
    """
    if row is None:
        return ""
    if math.isnan(row["ours"]):
        return f"{row['published']:.2f} / {MISSING}"
    mark = "!" if row["within_noise"] == "no" else ""
    return f"{row['published']:.2f} / {row['ours']:.2f} ({row['difference']:+.2f}{mark})"


def to_markdown(table: pd.DataFrame, paper: Paper, spec: Spec) -> str:
    """The comparison as Markdown: the totals, then one table per measure and backbone."""
    heads = ["Measure", "Published", "Ours", "Within noise", "Mean difference", "Mean absolute difference"]
    lines = [[markdown_escape(str(value)) for value in row.values()] for row in totals(table)]
    parts = [
        f"# Comparison with {markdown_escape(paper.source)}",
        " ".join(filter(None, [RULE, markdown_escape(paper.note)])),
        markdown_table(heads, lines),
        f"Each cell: published / ours (difference). !: more than noise. {MISSING}: not in this run.",
    ]
    for section in sections(table, spec):
        rows = [
            [markdown_escape(model), tables, *(cell_text(cells.get(code)) for code in section["languages"])]
            for model, tables, cells in section["lines"]
        ]
        parts.append(f"## {markdown_escape(section['title'])}: {markdown_escape(section['backbone'])}")
        parts.append(markdown_table(["Model", "Tables", *(code.upper() for code in section["languages"])], rows))
    return "\n\n".join(parts) + "\n"


def to_html(table: pd.DataFrame, paper: Paper, spec: Spec) -> str:
    """The comparison as one page that needs no other file."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        paper=paper, rule=RULE, totals=totals(table), sections=sections(table, spec), missing=MISSING
    )
