"""The layout report: one HTML file with the grid, its plots, and answers side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from langmerge import VERSION
from langmerge.measures import MEASURES
from langmerge.model import Model
from langmerge.reporting.figure import OKABE_ITO
from langmerge.reporting.pages import page
from langmerge.reporting.shown_answers import shown
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import Spec, read_spec
from langmerge.reporting.summary import Score, Summary

SCRIPTS = ("text.js", "data.js", "controls.js", "grid.js", "plots.js", "answers.js", "report.js")

FIRST = ("instruct", "base", "adapted", "joint")
"""The order of reference models, which are before the merges."""


@dataclass(frozen=True, kw_only=True)
class ReportSpec(Spec):
    """What the page is told.

    Attributes:
        run: its name.
        evaluation_languages: languages that are tested but not merged in.
        names: of languages, by their codes.
    """

    run: str
    evaluation_languages: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(ReportSpec, spec)
    return {"html": page("report.html", SCRIPTS, content(sources, settings), get_plotlyjs(), run=settings.run)}


def content(sources: Sources, spec: ReportSpec) -> dict[str, Any]:
    """All that the page shows."""
    results: dict[Model, list[Any]] = {}
    for one in sources.answers:
        results.setdefault(Model.of_columns(one.result["cell"]), []).append(one)
    models = sorted(results, key=lambda model: order(model, spec))
    numbers = {model: number for number, model in enumerate(models)}
    return {
        "run": spec.run,
        "title": spec.title,
        "version": VERSION,
        "palette": OKABE_ITO,
        "languages": spec.languages,
        "tested": [*spec.languages, *spec.evaluation_languages],
        "names": spec.names,
        "labels": {**spec.labels, "methods": {**{name: name.capitalize() for name in FIRST}, **spec.labels["methods"]}},
        "measures": {name: {"title": one.title, "axis": one.axis} for name, one in MEASURES.items()},
        "models": [
            {
                "id": model.id,
                "backbone": model.backbone,
                "method": model.method,
                "target": [*model.target],
                "weight": model.weight,
                "recipe": sources.recipes.get(model.id),
                "files": sorted({str(one.samples) for one in results[model]}),
            }
            for model in models
        ],
        **scores(sources.scores, sources.families, numbers),
        "answers": shown(
            ((numbers[model], one) for model in models for one in results[model]), sources.candidates, sources.threads
        ),
    }


def order(model: Model, spec: ReportSpec) -> tuple[Any, ...]:
    """Where a model is in lists: references first, then methods and targets as the run has them."""
    backbones, methods = [*spec.labels["backbones"]], [*FIRST, *spec.labels["methods"]]
    languages = [spec.languages.index(code) if code in spec.languages else len(spec.languages) for code in model.target]
    return backbones.index(model.backbone), methods.index(model.method), len(languages), languages, model.weight or 0


def scores(table: pd.DataFrame, families: dict[str, str], numbers: dict[Model, int]) -> dict[str, Any]:
    """Every score with its interval: by measure, by family of tasks, and by task.

    A family is what a run's configuration calls its tasks in all languages.

    Returns:
        families, tasks: what there is; scores: rows of a model, a language, a measure or the
        number of a family or a task, mean, bounds of the interval, n, and remarks.
    """
    of_tasks = table.assign(family=table["task"].map(lambda task: families.get(task, task)))
    rows: dict[str, list[list[Any]]] = {
        "measures": [
            [numbers[model], language, measure, *row]
            for model, language, measure, row in summarised(table)
            if model in numbers
        ]
    }
    listed: dict[str, list[dict[str, Any]]] = {}
    for level, column in (("families", "family"), ("tasks", "task")):
        listed[level], rows[level] = [], []
        for (measure, name), own in of_tasks.groupby(["measure", column], sort=False):
            found = [*summarised(own)]
            number = len(listed[level])
            listed[level].append({"name": name, "measure": measure})
            if level == "tasks":
                listed[level][-1] |= {"language": own["language"].iloc[0], "family": own["family"].iloc[0]}
            rows[level] += [
                [numbers[model], language, number, *row] for model, language, _, row in found if model in numbers
            ]
    return {**listed, "scores": rows}


def summarised(table: pd.DataFrame) -> Iterator[tuple[Model, str, str, list[Any]]]:
    """Each model, language and measure, with its score as the page has it."""
    for (model, language, measure), score in Summary(table).items():
        yield model, language, measure, compact(score)


def compact(score: Score) -> list[Any]:
    return [*map(rounded, (score.mean, score.low, score.high)), score.n, "; ".join(sorted(score.remarks))]


def rounded(value: float) -> float | None:
    """A number in points as JSON has it."""
    return None if math.isnan(value) else round(value, 2)
