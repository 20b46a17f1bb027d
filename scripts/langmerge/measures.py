"""What models are measured by. Schemas, tables, figures and comparisons read this list; a new
measure is added here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """One measure: what a task's scores are averaged into.

    Attributes:
        name: as configurations and scores.csv have it.
        title: heading of a table's columns.
        axis: label of a figure's axis, with the unit.
        short: one word, where there is little room.
        unit: of its values.
        higher_is_better: whether a larger value is a better one.
        interval: how the 95% interval of a score is found: `binomial` for shares, `bootstrap` for
            corpus metrics.
    """

    name: str
    title: str
    axis: str
    short: str
    unit: str
    higher_is_better: bool
    interval: Literal["binomial", "bootstrap"]


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("benchmark", "Benchmarks", "Benchmarks (accuracy, %)", "accuracy", "%", True, "binomial"),
        Measure("mt", "MT", "MT (BLEU)", "BLEU", "BLEU points", True, "bootstrap"),
        Measure("ifeval", "IFEval", "IFEval (strict accuracy, %)", "IFEval", "%", True, "binomial"),
        Measure("safety", "Safety", "Safety (appropriate answers, %)", "safety", "%", True, "binomial"),
    )
}
"""By name, in the order in which they are shown."""

CRITERIA = tuple(measure.name for measure in MEASURES.values() if measure.higher_is_better)
"""The measures that a criterion may name: a mean over them must rise when a model gets better."""

CRITERION = ("benchmark", "mt")
"""The measures whose mean is a model's language score, unless a table or a figure names others."""
