"""The layout best: each method at its best w, chosen on one half of the documents and reported on
the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langmerge.measures import CRITERION, MEASURES, SHOWN
from langmerge.model import Model
from langmerge.reporting.merge_rows import shown_scores
from langmerge.reporting.printing import MISSING
from langmerge.reporting.scores import ALL, DEV, TEST
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import TableSpec, read_spec
from langmerge.reporting.summary import Score, Summary, chosen, language_score
from langmerge.reporting.table import Block, Row, Table, numbers, table_files, tidy


@dataclass(frozen=True, kw_only=True)
class BestSpec(TableSpec):
    """What the table is told; `criterion` are the measures by whose mean w is chosen."""

    methods: list[str]
    criterion: list[str] | tuple[str, ...] = CRITERION


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(BestSpec, spec)
    summary = shown_scores(sources.scores, settings, ("instruct",))
    return table_files(build(settings, summary), settings.title, summary, name)


def build(spec: BestSpec, summary: Summary) -> Table:
    """One block per backbone and target, with the instruct model and one row per method that has
    several weights.

    Scores are means over the target languages, on the half of the documents that did not choose w
    (Test) and on all documents (All).
    """
    chooser = {TEST: summary.on(DEV), ALL: summary}
    reporter = {TEST: summary.on(TEST), ALL: summary}
    measures = summary.scored(spec.measures or SHOWN, spec.languages)
    columns = [(part, measure) for part in reporter for measure in measures]
    blocks, data = [], []

    def row(backbone: str, target: tuple[str, ...], method: str, models: dict[str, Model | None]) -> Row:
        """The scores of the model that each part of the documents chose."""
        name = "all" if len(target) > 1 else target[0]
        scores = [
            language_score(models[part], reporter[part], [measure], target) if models[part] else Score()
            for part, measure in columns
        ]
        weights = [weight_cell(models[part]) for part in reporter]
        names = {"backbone": backbone, "language": name, "method": method, "w_dev": weights[0], "w_all": weights[1]}
        data.append(names | numbers([f"{measure}_{part}" for part, measure in columns], scores))
        target_cell = name if name == "all" else name.upper()
        return Row([spec.label("backbones", backbone), target_cell, spec.label("methods", method), *weights], scores)

    for backbone in spec.backbones:
        instruct = dict.fromkeys(reporter, Model(backbone, "instruct"))
        for target in targets(spec.languages):
            picks = {}
            for method in spec.methods:
                weights = summary.weights(backbone, method, [target])
                if len(weights) > 1:  # with one weight there is no choice
                    models = [Model(backbone, method, target, weight) for weight in weights]
                    picks[method] = {part: chosen(models, chooser[part], spec.criterion) for part in chooser}
            if picks:
                rows = [
                    row(backbone, target, method, models) for method, models in [("instruct", instruct), *picks.items()]
                ]
                blocks.append(Block(rows, [measure for _, measure in columns]))

    parts = {TEST: "Test", ALL: "All"}
    criterion = ", ".join(MEASURES[measure].title for measure in spec.criterion)
    sentences = [
        "Test: w is chosen on the development half of the documents (w dev); the scores are those of the other half.",
        "All: w is chosen and reported on all documents (w all), as in the papers, which is optimistic.",
        f"The chosen w has the highest mean of {criterion} in the target languages of the merge.",
    ]
    headings = [(parts[part], MEASURES[measure].title) for part, measure in columns]
    return Table(["Backbone", "Target", "Model", "w dev", "w all"], headings, blocks, tidy(data), sentences)


def targets(languages: list[str]) -> list[tuple[str, ...]]:
    """Each language, then all of them if they are several."""
    each = [(language,) for language in languages]
    return [*each, tuple(sorted(languages))] if len(languages) > 1 else each


def weight_cell(model: Model | None) -> str:
    """w of a row: nothing for the instruct model, a dash where no merge could be chosen."""
    if model is None:
        return MISSING
    return f"{model.weight:g}" if model.is_merge else ""
