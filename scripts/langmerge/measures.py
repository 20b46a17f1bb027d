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
            corpus metrics, `log odds` for rates with a standard error from a bootstrap.
        answers_of: the measures whose kept answers it is computed from without a model: by
            `langmerge collect`, or by `langmerge votes collect` from what voters say of them. Empty
            for the measures of tasks.
        spread: of a task's measure, the standard deviation over documents, in points, of the
            difference between a merge and its instruct model, for `langmerge plan`: measured in the
            miniature (docs/benchmarks/2026-11-27-search.md), for safety a guess.
        shown: whether tables and figures show it that do not name their measures.
    """

    name: str
    title: str
    axis: str
    short: str
    unit: str
    higher_is_better: bool
    interval: Literal["binomial", "bootstrap", "log odds"]
    answers_of: tuple[str, ...] = ()
    spread: float | None = None
    shown: bool = True


TRANSLATION = "mt"
"""The measure of translation tasks, whose references are natural text of their language."""

VOTES = "votes"
"""The measure of blind votes; also the table and the figure that `langmerge votes collect` makes."""

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("benchmark", "Benchmarks", "Benchmarks (accuracy, %)", "accuracy", "%", True, "binomial", spread=45),
        Measure(TRANSLATION, "MT", "MT (BLEU)", "BLEU", "BLEU points", True, "bootstrap", spread=20),
        Measure("chrf", "chrF++", "MT (chrF++)", "chrF++", "chrF++ points", True, "bootstrap", ("mt",), shown=False),
        Measure("ifeval", "IFEval", "IFEval (strict accuracy, %)", "IFEval", "%", True, "binomial", spread=40),
        Measure(
            "fidelity",
            "Fidelity",
            "Language fidelity (answers, %)",
            "fidelity",
            "%",
            True,
            "binomial",
            ("mt", "ifeval"),
        ),
        Measure("safety", "Safety", "Safety (appropriate answers, %)", "safety", "%", True, "binomial", spread=45),
        Measure(VOTES, "Blind votes", "Blind votes (win rate, %)", "win rate", "%", True, "log odds", ("ifeval", "mt")),
    )
}
"""By name, in the order in which they are shown."""

TASKED = tuple(name for name, measure in MEASURES.items() if not measure.answers_of)
"""The measures that a task's scores may belong to; the others are derived from answers."""

PAIRED = tuple(name for name in MEASURES if name != VOTES)
"""The measures that two models can be compared by, document by document. Voters see two models'
answers to a prompt, and not those of all.
"""

SHOWN = tuple(name for name, measure in MEASURES.items() if measure.shown)
"""The measures of tables and figures that do not name theirs."""

CRITERIA = tuple(measure.name for measure in MEASURES.values() if measure.higher_is_better)
"""The measures that a criterion may name: a mean over them must rise when a model gets better."""

CRITERION = ("benchmark", "mt")
"""The measures whose mean is a model's language score, unless a table or a figure names others."""
