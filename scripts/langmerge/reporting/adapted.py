"""The layout adapted (Table 2 of the paper): benchmark accuracy of each base model and of its
adaptations.
"""

from __future__ import annotations

from typing import Any

from langmerge.measures import MEASURES
from langmerge.model import Model
from langmerge.reporting.merge_rows import Entry, shown_scores
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import TableSpec, read_spec
from langmerge.reporting.summary import Summary
from langmerge.reporting.table import Block, Row, Table, numbers, table_files, tidy

MEASURE = "benchmark"


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(TableSpec, spec)
    summary = shown_scores(sources.scores, settings, ("base", "adapted"))
    return table_files(build(settings, summary), settings.title, summary, name)


def build(spec: TableSpec, summary: Summary) -> Table:
    """One row per model, one column per language."""
    blocks, data = [], []
    for backbone in spec.backbones:
        rows = []
        for model in [Model(backbone, "base"), *(Model(backbone, "adapted", (code,)) for code in spec.languages)]:
            entry = Entry.of(model)
            scores = [summary.score(model, language, MEASURE) for language in spec.tested]
            rows.append(Row([spec.label("backbones", backbone), entry.name], scores))
            names = {"backbone": backbone, "variant": entry.variant, "language": entry.language}
            data.append(names | numbers(spec.tested, scores))
        blocks.append(Block(rows, [MEASURE] * len(spec.tested)))
    columns = [(MEASURES[MEASURE].title, code.upper()) for code in spec.tested]
    return Table(["Backbone", "Model"], columns, blocks, tidy(data), [])
