"""The layout ifeval (Table 4 of the paper): instruction following, with its standard deviation over
seeds.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from langmerge.measures import MEASURES
from langmerge.model import Model
from langmerge.reporting.merge_rows import (
    BESIDE,
    MULTI,
    Entry,
    MergesSpec,
    merge,
    notes,
    reference_models,
    shown_scores,
)
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import read_spec
from langmerge.reporting.summary import Summary
from langmerge.reporting.table import Block, Row, Table, table_files

MEASURE = "ifeval"


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(MergesSpec, spec)
    summary = shown_scores(sources.scores, settings, ("instruct", "joint"), BESIDE)
    return table_files(build(settings, summary), settings.title, summary, name)


def build(spec: MergesSpec, summary: Summary) -> Table:
    """One row per model, one column per language.

    In the row "Merge target", each column shows the merge of its own language; the row "Merge
    multi" shows the merge of all languages.
    """
    data = []
    count = len(spec.languages)

    def row(entry: Entry) -> Row:
        scores = []
        for column, language in enumerate(spec.languages):
            score = summary.score(entry.models[column], language, MEASURE)
            scores.append(score)
            cells = entry.data(column)
            weight = cells.pop("weight")
            numbers = {"mean": score.mean, "sd": score.sd, "n": score.n, "weight": weight}
            data.append(cells | {"test_language": language} | numbers | {"low": score.low, "high": score.high})
        return Row([spec.label("backbones", entry.backbone), entry.name], scores)

    blocks = []
    if references := [row(Entry.of(model, count)) for model in reference_models(spec, summary)]:
        blocks.append(Block(references, [MEASURE] * count, unranked=tuple(range(len(references)))))
    for backbone in spec.backbones:
        adapted = [Model(backbone, "adapted", (language,)) for language in spec.languages]
        beside = [Entry.of(Model(backbone, "base"), count), Entry(backbone, "adapted", "target", adapted)]
        shown = [entry for entry in beside if summary.models & {*entry.models}]
        own = [merge(spec, summary, backbone, spec.methods, language) for language in spec.languages]
        entries = [*shown, Entry.of(Model(backbone, "instruct"), count), Entry(backbone, "merge", "target", own)]
        if MULTI in spec.targets:
            together = merge(spec, summary, backbone, spec.methods, MULTI)
            entries.append(Entry(backbone, "merge", MULTI, [together] * count))
        rows = [row(entry) for entry in entries]
        blocks.append(Block(rows, [MEASURE] * count, unranked=tuple(range(len(shown)))))

    table = pd.DataFrame(data).astype({"n": "Int64"})
    columns = [(MEASURES[MEASURE].title, language.upper()) for language in spec.languages]
    sentences = ["± is the sample standard deviation over seeds.", *notes(spec, "cell", len(spec.methods) > 1)]
    return Table(["Backbone", "Model"], columns, blocks, table, sentences)
