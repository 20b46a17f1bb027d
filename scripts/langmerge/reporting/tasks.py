"""The layout tasks: the scores of every single task, one row each."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from langmerge.measures import MEASURES, SHOWN
from langmerge.reporting.merge_rows import (
    BESIDE,
    REFERENCE_ROWS,
    MergesSpec,
    notes,
    row_name,
    shown_model,
)
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import read_spec
from langmerge.reporting.summary import Summary, compared
from langmerge.reporting.table import Block, Row, Table, numbers, table_files, tidy


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(MergesSpec, spec)
    scores = compared(sources.scores, settings.backbones, ["instruct", *settings.methods], BESIDE)
    return table_files(build(settings, scores), settings.title, Summary(scores), name)


def build(spec: MergesSpec, scores: pd.DataFrame) -> Table:
    """One block per language and measure, one row per task, and for each backbone one column per
    model: base, instruct, adapted, and the language's own merge by each method.

    Args:
        scores: those of the models that are shown.
    """
    whole = Summary(scores)
    measures = spec.measures or SHOWN
    names = [name for name in (*REFERENCE_ROWS, *spec.methods) if name == "instruct" or name in {*scores["method"]}]
    cells = [(backbone, name) for backbone in spec.backbones for name in names]
    unranked = tuple(index for index, (_, name) in enumerate(cells) if name in BESIDE)
    blocks, data = [], []
    for language in spec.languages:
        models = [shown_model(spec, whole, backbone, name, language) for backbone, name in cells]
        for measure in measures:
            own = scores[(scores["language"] == language) & (scores["measure"] == measure)]
            rows = []
            for task, lines in own.groupby("task", sort=True):
                summary = Summary(lines)
                found = [summary.score(model, language, measure)._replace(sd=math.nan) for model in models]
                rows.append(Row([spec.label("languages", language), MEASURES[measure].title, str(task)], found))
                columns = [f"{backbone}_{name}" for backbone, name in cells]
                data.append({"language": language, "measure": measure, "task": task} | numbers(columns, found))
            if rows:
                blocks.append(Block(rows, [measure] * len(cells), across=True, unranked=unranked))
    headings = [(spec.label("backbones", backbone), row_name(spec, name)) for backbone, name in cells]
    return Table(["Language", "Measure", "Task"], headings, blocks, tidy(data), notes(spec, "cell"))
