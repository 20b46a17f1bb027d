"""The layout merges (Tables 3, 7 and 8 of the paper): instruct models and their merges, in every
language.
"""

from __future__ import annotations

import math
from typing import Any

from langmerge.measures import CRITERION, MEASURES, SHOWN
from langmerge.model import Model
from langmerge.reporting.merge_rows import BESIDE, Entry, MergesSpec, merge, notes, reference_models, shown_scores
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import read_spec
from langmerge.reporting.summary import Summary
from langmerge.reporting.table import Block, Row, Table, numbers, table_files, tidy

DEFAULT = [name for name in SHOWN if name != "ifeval"]
"""Instruction following has a table of its own, with the spread over seeds (layout ifeval)."""

TRANSLATIONS = ("mt", "chrf")


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(MergesSpec, spec)
    summary = shown_scores(sources.scores, settings, ("instruct", "joint"), BESIDE)
    return table_files(build(settings, summary), settings.title, summary, name)


def build(spec: MergesSpec, summary: Summary) -> Table:
    """One row per model, one column per measure and language that has scores.

    With several methods, or weights "best", each row shows the merge that `best_model` picks, and
    names its method or its w.
    """
    wanted = spec.measures or DEFAULT
    columns = [(measure, code) for measure in wanted for code in spec.tested if summary.has(code, measure)]
    columns = columns or [(measure, code) for measure in spec.measures or CRITERION for code in spec.tested]
    measures = [measure for measure, _ in columns]
    named = {"Method": len(spec.methods) > 1, "w": spec.is_choice}
    data = []

    def row(entry: Entry) -> Row:
        scores = [summary.score(entry.models[0], language, measure) for measure, language in columns]
        cells = entry.data()
        weight = cells.pop("weight")
        values = numbers([f"{measure}_{language}" for measure, language in columns], scores)
        data.append(cells | values | {"weight": weight})
        printed = {"Method": spec.label("methods", cells["method"]), "w": weight}
        first = [spec.label("backbones", entry.backbone), entry.name, *(printed[key] for key in named if named[key])]
        return Row(first, scores)

    blocks = []
    if references := [row(Entry.of(model)) for model in reference_models(spec, summary)]:
        blocks.append(Block(references, measures, unranked=tuple(range(len(references)))))
    for backbone in spec.backbones:
        beside = [Model(backbone, "base"), *(Model(backbone, "adapted", (code,)) for code in spec.languages)]
        shown = [
            model
            for model in beside
            if any(not math.isnan(summary.score(model, code, measure).mean) for measure, code in columns)
        ]
        entries = [*map(Entry.of, shown), Entry.of(Model(backbone, "instruct"))]
        for target in spec.targets:
            entries.append(Entry(backbone, "merge", target, [merge(spec, summary, backbone, spec.methods, target)]))
        blocks.append(Block([row(entry) for entry in entries], measures, unranked=tuple(range(len(shown)))))

    headings = [(MEASURES[measure].title, heading(measure, language)) for measure, language in columns]
    names = ["Backbone", "Model", *(key for key in named if named[key])]
    return Table(names, headings, blocks, tidy(data), notes(spec, "row", len(spec.methods) > 1))


def heading(measure: str, language: str) -> str:
    """A language as a column is called: translation is from several languages into this one."""
    return f"*-{language.upper()}" if measure in TRANSLATIONS else language.upper()
