"""The layout best: each method at its best w, chosen on one half of the documents and reported on
the other; if it is told to, among the merges that are shown to have lost nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from langmerge.measures import CRITERION, MEASURES, SHOWN
from langmerge.model import Model
from langmerge.reporting.merge_rows import BESIDE, shown_scores
from langmerge.reporting.pairing import Comparison, comparisons, units
from langmerge.reporting.printing import MISSING
from langmerge.reporting.scores import ALL, DEV, TEST
from langmerge.reporting.significance import LEVEL
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import TableSpec, read_spec
from langmerge.reporting.summary import Score, Summary, chosen, language_score
from langmerge.reporting.table import Block, Row, Table, numbers, table_files, tidy


@dataclass(frozen=True, kw_only=True)
class BestSpec(TableSpec):
    """What the table is told.

    Attributes:
        criterion: the measures by whose mean w is chosen.
        keep: measures and languages in which a merge must have lost nothing to be chosen.
        margins: for each measure how many points count as nothing.
    """

    methods: list[str]
    criterion: list[str] | tuple[str, ...] = CRITERION
    keep: list[str] = field(default_factory=list)
    margins: dict[str, float] = field(default_factory=dict)


class Losses:
    """Whether merges are worse than their instruct model by a margin or more, in what must be kept.

    A merge passes if all of it is shown to be kept: each one-sided test has p < 0.05, so that the
    claim as a whole has p < 0.05 too (intersection-union test: Berger 1982). It fails where a
    comparison is missing.
    """

    def __init__(self, spec: BestSpec, compared: list[Comparison]) -> None:
        self.spec = spec
        self.kept: dict[str, list[tuple[str, str]]] = {}
        self.p: dict[str, dict[tuple[Model, str, str], float]] = {part: {} for part in (ALL, DEV, TEST)}
        for instruct, language, measure, *_ in compared:
            if measure in spec.margins:
                self.kept.setdefault(instruct.backbone, []).append((language, measure))
        for part, comparison in itertools.product(self.p, compared):
            if (margin := spec.margins.get(comparison.measure)) is not None:
                for model, found in comparison.differences(part).items():
                    self.p[part][model, comparison.language, comparison.measure] = found.p_not_below(-margin)

    def worst(self, model: Model, part: str) -> float:
        """p of the claim that the merge has lost nothing: the largest of its tests, NaN where one
        is missing. A measure must be kept in the merge's own languages, a language in every measure
        that has a margin.
        """
        asked = [
            (language, measure)
            for language, measure in self.kept.get(model.backbone, [])
            if language in self.spec.keep or (measure in self.spec.keep and language in model.target)
        ]
        found = [self.p[part].get((model, language, measure), math.nan) for language, measure in asked]
        return float(np.max(found)) if found else math.nan

    def passing(self, models: Iterable[Model], part: str) -> list[Model]:
        """Those that are shown to have lost nothing."""
        return [model for model in models if self.worst(model, part) < LEVEL]


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str]:
    settings = read_spec(BestSpec, spec)
    summary = shown_scores(sources.scores, settings, ("instruct",), BESIDE)
    losses = None
    if settings.keep:
        shown = [
            unit
            for answered in sources.answers
            for unit in units(answered)
            if unit.model.backbone in settings.backbones and unit.model.method in ("instruct", *settings.methods)
        ]
        losses = Losses(settings, comparisons(shown, sources.threads))
    return table_files(build(settings, summary, losses), settings.title, summary, name)


def build(spec: BestSpec, summary: Summary, losses: Losses | None = None) -> Table:
    """One block per backbone and target, with the base, instruct and adapted models, and one row
    per method that has several weights.

    Scores are means over the target languages, on the half of the documents that did not choose w
    (Test) and on all documents (All).

    Args:
        losses: of the merges, where the table is told to `keep` something.
    """
    chosen_on = {TEST: DEV, ALL: ALL}
    chooser = {TEST: summary.on(DEV), ALL: summary}
    reporter = {TEST: summary.on(TEST), ALL: summary}
    measures = summary.scored(spec.measures or SHOWN, spec.languages)
    columns = [(part, measure) for part in reporter for measure in measures]
    blocks, data = [], []
    candidates: set[Model] = set()

    def row(backbone: str, target: tuple[str, ...], method: str, models: dict[str, Model | None]) -> Row:
        """The scores of the model that each part of the documents chose."""
        name = "all" if len(target) > 1 else target[0]
        scores = [
            language_score(models[part], reporter[part], [measure], target) if models[part] else Score()
            for part, measure in columns
        ]
        weights = [weight_cell(models[part]) for part in reporter]
        names = {"backbone": backbone, "language": name, "method": method, "w_dev": weights[0], "w_all": weights[1]}
        claims = {part: p_of(models[part], losses, part) for part in reporter} if losses else {}
        names |= {f"p_kept_{part}": p for part, p in claims.items()}
        data.append(names | numbers([f"{measure}_{part}" for part, measure in columns], scores))
        target_cell = name if name == "all" else name.upper()
        label = spec.label("methods", method) if method in spec.methods else method.capitalize()
        first = [spec.label("backbones", backbone), target_cell, label, *weights]
        return Row([*first, *([p_cell(models[TEST], claims[TEST])] if losses else [])], scores)

    for backbone in spec.backbones:
        for target in targets(spec.languages):
            picks = {}
            for method in spec.methods:
                weights = summary.weights(backbone, method, [target])
                if len(weights) > 1:  # with one weight there is no choice
                    models = [Model(backbone, method, target, weight) for weight in weights]
                    candidates.update(models)
                    passing = {part: losses.passing(models, chosen_on[part]) if losses else models for part in chooser}
                    picks[method] = {part: chosen(passing[part], chooser[part], spec.criterion) for part in chooser}
            if picks:
                beside = [Model(backbone, "base"), Model(backbone, "adapted", target)]
                beside = [model for model in beside if model in summary.models]
                shown = {
                    model.method: dict.fromkeys(reporter, model) for model in [*beside, Model(backbone, "instruct")]
                }
                rows = [row(backbone, target, method, models) for method, models in (shown | picks).items()]
                blocks.append(Block(rows, [measure for _, measure in columns], unranked=tuple(range(len(beside)))))

    parts = {TEST: "Test", ALL: "All"}
    criterion = ", ".join(MEASURES[measure].title for measure in spec.criterion)
    sentences = [
        "Test: w is chosen on the development half of the documents (w dev); the scores are those of the other half.",
        "All: w is chosen and reported on all documents (w all), as in the papers, which is optimistic.",
        f"The chosen w has the highest mean of {criterion} in the target languages of the merge.",
    ]
    if losses:
        sentences.append(kept_sentence(spec))
    unknown = [
        model
        for model in candidates
        if any(math.isnan(language_score(model, own, spec.criterion).mean) for own in chooser.values())
    ]
    if unknown:
        sentences.append(
            f"Of {len(candidates)} merges, {len(unknown)} cannot be chosen, because they have no score by which w is chosen."
        )
    headings = [(parts[part], MEASURES[measure].title) for part, measure in columns]
    names = ["Backbone", "Target", "Model", "w dev", "w all", *(["p kept"] if losses else [])]
    return Table(names, headings, blocks, tidy(data), sentences)


def targets(languages: list[str]) -> list[tuple[str, ...]]:
    """Each language, then all of them if they are several."""
    each = [(language,) for language in languages]
    return [*each, tuple(sorted(languages))] if len(languages) > 1 else each


def weight_cell(model: Model | None) -> str:
    """w of a row: nothing for a reference model, a dash where no merge could be chosen."""
    if model is None:
        return MISSING
    return f"{model.weight:g}" if model.is_merge else ""


def kept_sentence(spec: BestSpec) -> str:
    """What a merge must have kept to be chosen."""
    measures = [MEASURES[name].title for name in spec.keep if name in MEASURES]
    languages = [name.upper() for name in spec.keep if name not in MEASURES]
    what = [f"{', '.join(measures)} in its target languages"] if measures else []
    what += [f"all measures with a margin in {', '.join(languages)}"] if languages else []
    margins = ", ".join(
        f"{margin:g} ({MEASURES[name].title})"
        for name, margin in spec.margins.items()
        if languages or name in spec.keep
    )
    return (
        f"It is chosen among the merges that are shown to have lost nothing in {' and in '.join(what)}: to be worse than the"
        f" instruct model by less than the margin, which is, in points, {margins}. Each is a one-sided paired t test with p <"
        f" {LEVEL:g} on the documents that choose w. p kept: the same claim for w dev, tested on the other half. {MISSING}: no"
        " merge is shown to have lost nothing; with few documents, that may be for want of evidence."
    )


def p_of(model: Model | None, losses: Losses, part: str) -> float:
    """p of the claim that a row's merge has lost nothing."""
    return losses.worst(model, part) if model and model.is_merge else math.nan


def p_cell(model: Model | None, p: float) -> str:
    """p as it is printed."""
    if model is not None and not model.is_merge:
        return ""
    return MISSING if math.isnan(p) else f"{p:.3f}"
