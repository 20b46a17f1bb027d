"""Rows of tables that show merges: which merge a row shows, and what the row is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from langmerge.errors import UserError
from langmerge.model import Model
from langmerge.reporting.specs import TableSpec
from langmerge.reporting.summary import Summary, chosen, compared

SELECTION = ("mt", "benchmark")
"""The measures that pick a row's merge among several, the first that any of them has: see
`best_model`.
"""

REFERENCE_ROWS = ("base", "adapted", "instruct")
"""The reference models above the merges, as far as they have scores."""

BESIDE = ("base", "adapted")
"""Those that are shown for comparison, without a rank: nobody would choose them."""

BEST = "best"
MULTI = "multi"
"""The merge of all languages, in a spec's weights and in the CSV files' column language."""


@dataclass(frozen=True, kw_only=True)
class MergesSpec(TableSpec):
    """What a table of merges is told.

    Attributes:
        weights: w of the merges of one language (`each`) and of all languages (`multi`), numbers or
            the word `best`: one such mapping, one for each method, or the word `best` alone. A kind
            that a method lacks is not shown.
        baselines: other backbones whose instruct models are shown above all.
    """

    methods: list[str]
    weights: Any
    baselines: list[str] = field(default_factory=list)

    def weight(self, method: str, kind: str) -> float | str | None:
        """w of a method's merges of the kind `each` or `multi`: a number, "best", or None where
        none is given.

        Raises:
            UserError: neither kind has a weight, or a weight is neither a number nor "best".
        """
        weights = self.weights.get(method, self.weights) if isinstance(self.weights, dict) else self.weights
        if weights == BEST:
            return BEST
        if not isinstance(weights, dict) or not weights.keys() & {"each", "multi"}:
            raise UserError(
                f"weights: found {weights!r} for the method {method}, expected {{each: 1.0, multi: 0.25}} or the word best."
            )
        weight = weights.get(kind)
        if not (weight is None or weight == BEST or isinstance(weight, int | float)):
            raise UserError(
                f"weights: {kind} is {weight!r} for the method {method}, expected a number or the word best."
            )
        return weight

    @property
    def is_choice(self) -> bool:
        """Whether a row's merge is chosen among several weights by its score."""
        return any(self.weight(method, kind) == BEST for method in self.methods for kind in ("each", "multi"))

    @property
    def targets(self) -> list[str]:
        """Each language, then MULTI if there are several languages and a method has a weight for
        their merge.
        """
        together = len(self.languages) > 1 and any(self.weight(method, "multi") is not None for method in self.methods)
        return [*self.languages, MULTI] if together else list(self.languages)


class Entry(NamedTuple):
    """A row before its scores are looked up.

    Attributes:
        language: the target: a language, MULTI, "target" (each column's own language), or "".
        models: the model of each column; None where there is no such merge.
    """

    backbone: str
    variant: str
    language: str
    models: list[Model | None]

    @classmethod
    def of(cls, model: Model, columns: int = 1) -> Entry:
        """The row of a reference model."""
        return cls(model.backbone, model.method, "+".join(model.target), [model] * columns)

    @property
    def name(self) -> str:
        """The cell of the column Model: "Instruct", "Merge EU", "Merge multi"."""
        language = self.language if self.language in (MULTI, "target") else self.language.upper()
        return f"{self.variant.capitalize()} {language}".rstrip()

    def data(self, column: int = 0) -> dict[str, str]:
        """The CSV columns that say which model the score of this row and column belongs to."""
        model = self.models[column]
        merged = self.variant == "merge" and model is not None
        return {
            "backbone": self.backbone,
            "variant": self.variant,
            "language": self.language,
            "method": model.method if merged else "",
            "weight": f"{model.weight:g}" if merged else "",
        }


def best_model(candidates: Sequence[Model], summary: Summary) -> Model | None:
    """The merge that a row shows: the highest BLEU into the merge's own target languages, the first
    of equals.

    The paper does not say how its Table 8 picks a method; this rule is inferred from its numbers.
    Among the merges published in Tables 3, 7 and 8 it gives all 15 choices (benchmark accuracy in
    the target languages gives 9, the mean of both 11). Methods whose rows are not published, such
    as nearswap where it was not chosen, could not be checked. Where no candidate has a translation
    score, benchmark accuracy decides; without either there is no choice (None), unless there is one
    candidate.
    """
    if len(candidates) == 1:
        return candidates[0]
    for measure in SELECTION:
        if (best := chosen(candidates, summary, [measure])) is not None:
            return best
    return None


def merge(spec: MergesSpec, summary: Summary, backbone: str, methods: Sequence[str], target: str) -> Model | None:
    """The merge to show for a target: a language, or MULTI."""
    kind, languages = (MULTI, tuple(sorted(spec.languages))) if target == MULTI else ("each", (target,))
    candidates = []
    for method in methods:
        weight = spec.weight(method, kind)
        if weight == BEST:
            weights = summary.weights(backbone, method, [languages])
        else:
            weights = [] if weight is None else [float(weight)]
        candidates += [Model(backbone, method, languages, weight) for weight in weights]
    return best_model(candidates, summary)


def reference_models(spec: MergesSpec, summary: Summary) -> list[Model]:
    """The models above the backbones' blocks that have scores: joint models, then baselines."""
    joint = [Model(backbone, "joint", (language,)) for backbone in spec.backbones for language in spec.languages]
    baselines = [Model(name, "instruct") for name in spec.baselines]
    return [model for model in [*joint, *baselines] if model in summary.models]


def shown_model(spec: MergesSpec, summary: Summary, backbone: str, name: str, language: str) -> Model | None:
    """The model of a row that shows a language by itself: that of a reference row, or a method's
    merge.
    """
    if name in REFERENCE_ROWS:
        return Model(backbone, name, (language,) if name == "adapted" else ())
    return merge(spec, summary, backbone, [name], language)


def row_name(spec: MergesSpec, name: str) -> str:
    """What `shown_model`'s row is called."""
    return name.capitalize() if name in REFERENCE_ROWS else spec.label("methods", name)


def notes(spec: MergesSpec, cell: str, method_chosen: bool = False) -> list[str]:
    """Sentences that say which merge a row or a cell shows: its w, or how it was chosen."""
    sentences = []
    if choices := [word for word, is_choice in (("method", method_chosen), ("w", spec.is_choice)) if is_choice]:
        sentences.append(
            f"Each {cell} shows the {' and '.join(choices)} with the highest BLEU into the target languages of the merge"
            " (without translation scores, the highest benchmark accuracy)."
        )
    fixed: dict[str, list[str]] = {}
    kinds = {"each": "one language", MULTI: "all languages"}
    for method in spec.methods:
        weights = {words: spec.weight(method, kind) for kind, words in kinds.items()}
        given = [f"{weight:g} (merges of {words})" for words, weight in weights.items() if weight not in (None, BEST)]
        fixed.setdefault(", ".join(given), []).append(spec.label("methods", method))
    for weights, names in fixed.items():
        if weights:
            sentences.append(f"w = {weights}" + (f" for {', '.join(names)}" if len(fixed) > 1 else "") + ".")
    return sentences


def shown_scores(
    scores: pd.DataFrame, spec: TableSpec, references: Sequence[str], beside: Sequence[str] = ()
) -> Summary:
    """The scores of a table's backbones and methods, and of these reference models (`beside`: see
    `compared`).
    """
    backbones = [*spec.backbones, *getattr(spec, "baselines", [])]
    return Summary(compared(scores, backbones, [*references, *getattr(spec, "methods", [])], beside))
