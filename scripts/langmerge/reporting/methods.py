"""The layout methods (Tables 5 and 6 of the paper): the merge methods of one backbone."""

from __future__ import annotations

import math
from typing import Any

from langmerge.errors import UserError
from langmerge.measures import MEASURES, SHOWN
from langmerge.reporting.merge_rows import MergesSpec, merge, notes, shown_scores
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import read_spec
from langmerge.reporting.summary import Summary, combined
from langmerge.reporting.table import Block, Row, Table, numbers, table_files, tidy


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(MergesSpec, spec)
    summary = shown_scores(sources.scores, settings, ())
    return table_files(build(settings, summary), settings.title, summary, name)


def build(spec: MergesSpec, summary: Summary) -> Table:
    """One block per measure, one row per method, one column per language, and the average.

    Each column shows the merge of its own language.

    Raises:
        UserError: there is not exactly one backbone.
    """
    if len(spec.backbones) != 1:
        raise UserError(
            f"backbones: found {spec.backbones}, but the layout methods shows one backbone. Write one table for each."
        )
    [backbone] = spec.backbones
    blocks, data = [], []
    for measure in summary.scored(spec.measures or SHOWN, spec.languages):
        rows = []
        for method in spec.methods:
            own = [(language, merge(spec, summary, backbone, [method], language)) for language in spec.languages]
            scores = [summary.score(model, language, measure)._replace(sd=math.nan) for language, model in own]
            scores.append(combined(scores))
            rows.append(Row([MEASURES[measure].title, spec.label("methods", method)], scores))
            names = {"backbone": backbone, "measure": measure, "method": method}
            data.append(names | numbers([*spec.languages, "avg"], scores))
        blocks.append(Block(rows, [measure] * (len(spec.languages) + 1)))
    headings = [*(language.upper() for language in spec.languages), "Avg"]
    columns = [(spec.label("backbones", backbone), heading) for heading in headings]
    return Table(["Measure", "Method"], columns, blocks, tidy(data), notes(spec, "cell"))
