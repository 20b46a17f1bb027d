"""The layout methods (Tables 5 and 6 of the paper): the merge methods side by side."""

from __future__ import annotations

import itertools
import math
from typing import Any

from langmerge.measures import MEASURES, SHOWN
from langmerge.reporting.merge_rows import (
    BESIDE,
    REFERENCE_ROWS,
    MergesSpec,
    notes,
    row_name,
    shown_model,
    shown_scores,
)
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import read_spec
from langmerge.reporting.summary import Score, Summary, combined
from langmerge.reporting.table import Block, Row, Table, numbers, table_files, tidy


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(MergesSpec, spec)
    summary = shown_scores(sources.scores, settings, ("instruct",), BESIDE)
    return table_files(build(settings, summary), settings.title, summary, name)


def build(spec: MergesSpec, summary: Summary) -> Table:
    """One block per measure, one row per method, and for each backbone one column per language and
    the average.

    Each column shows the merge of its own language. Above the methods are the base, instruct and
    adapted models, as far as they have scores.
    """
    headings = [*spec.languages, "avg"]
    blocks, data = [], []
    for measure in summary.scored(spec.measures or SHOWN, spec.languages):
        rows, unranked = [], []
        for name in (*REFERENCE_ROWS, *spec.methods):
            of_backbones = [own_scores(spec, summary, backbone, name, measure) for backbone in spec.backbones]
            if name in BESIDE:
                if all(math.isnan(score.mean) for scores in of_backbones for score in scores):
                    continue
                unranked.append(len(rows))
            for backbone, scores in zip(spec.backbones, of_backbones, strict=True):
                names = {"backbone": backbone, "measure": measure, "method": name}
                data.append(names | numbers(headings, scores))
            rows.append(Row([MEASURES[measure].title, row_name(spec, name)], [*itertools.chain(*of_backbones)]))
        count = len(spec.backbones) * len(headings)
        blocks.append(Block(rows, [measure] * count, unranked=tuple(unranked)))
    printed = [*(code.upper() for code in spec.languages), "Avg"]
    columns = [(spec.label("backbones", backbone), heading) for backbone in spec.backbones for heading in printed]
    return Table(["Measure", "Method"], columns, blocks, tidy(data), notes(spec, "cell"))


def own_scores(spec: MergesSpec, summary: Summary, backbone: str, name: str, measure: str) -> list[Score]:
    """The scores of a row's models, each in its own language, and their mean."""
    models = {code: shown_model(spec, summary, backbone, name, code) for code in spec.languages}
    scores = [summary.score(model, code, measure)._replace(sd=math.nan) for code, model in models.items()]
    return [*scores, combined(scores)]
