"""What a finished run says of a cell: its scores beside those of other models, how its w was or
would be chosen, and what it is shown not to have lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from langmerge.errors import UserError
from langmerge.evaluation.sealed import read_sealed
from langmerge.grid.grid import Grid
from langmerge.model import Model
from langmerge.reporting.best import BestSpec, Losses
from langmerge.reporting.inputs import Answered, win_rates
from langmerge.reporting.pairing import Comparison, comparisons, units
from langmerge.reporting.scores import ALL, DEV, of_results
from langmerge.reporting.significance import holm
from langmerge.reporting.specs import read_spec
from langmerge.reporting.summary import LEVEL, Score, Summary, chosen


@dataclass(frozen=True)
class Kept:
    """A comparison with the instruct model in one language and measure.

    Attributes:
        value, low, high: the difference on all documents, and its 95% interval.
        p: of the one-sided test that the merge is worse by less than the margin, corrected by
            Holm's method over the merges that were compared; NaN without a margin, or where answers
            do not tell.
    """

    language: str
    measure: str
    value: float
    low: float
    high: float
    p: float


class Evidence:
    """The results of a run that exist.

    Attributes:
        rule: how w is chosen.
        scores: as `read_scores` returns them; summary: of all documents.
    """

    def __init__(self, grid: Grid, answers: list[Answered], rule: str | None, threads: int) -> None:
        """Gather them.

        Args:
            answers: the results with what is derived from their answers.
            rule: a table of the run with the layout best, None for the first one.
            threads: processes that read answers.

        Raises:
            UserError: there is no such table.
        """
        self.grid, self.answers, self.threads = grid, answers, threads
        self.rule = rule_of(grid, rule)
        voted = win_rates(grid.layout.win_rates, grid.models, grid.evaluated)
        self.scores: pd.DataFrame = of_results([*((one.path, one.result) for one in answers), *voted])
        self.summary = Summary(self.scores)

    @cached_property
    def compared(self) -> list[Comparison]:
        return comparisons([unit for one in self.answers for unit in units(one)], self.threads)

    # ---- choice

    def best(self, languages: list[str]) -> Model:
        """The cell that the rule chooses on the development half, of all methods and weights of the
        run that merge these languages in.

        Raises:
            UserError: there is none.
        """
        target = tuple(sorted({*languages}))
        cells = [model for model in self.grid.expansion.merges if model.target == target]
        found = self.choice([cell for cell in cells if cell in self.summary.models])
        if found is None:
            losses = f" without losses in {', '.join(self.rule.keep)}" if self.rule.keep else ""
            raise UserError(
                f"no evaluated merge of {'+'.join(target)} can be chosen by {', '.join(self.rule.criterion)}{losses}. Name one with "
                "--cell."
            )
        return found

    def siblings(self, cell: Model) -> list[Model]:
        """The evaluated cells that differ from one in their weight at most."""
        return [other for other in self.grid.expansion.merges if other in self.summary.models and same(other, cell)]

    def choice(self, cells: list[Model]) -> Model | None:
        """The one that the rule chooses on the development half."""
        if self.rule.keep:
            cells = Losses(self.rule, self.compared).passing(cells, DEV)
        return chosen(cells, self.summary.on(DEV), self.rule.criterion)

    # ---- comparisons with the instruct model

    def kept(self, cell: Model) -> list[Kept]:
        """One for each language and measure that a cell is evaluated in; without numbers where it
        and its instruct model cannot be paired.
        """
        margins, found = self.grid.config["margins"], []
        for comparison in self.compared:
            if cell not in comparison.merges:
                continue
            if cell not in comparison.paired:
                found.append(Kept(comparison.language, comparison.measure, *[np.nan] * 4))
                continue
            differences = comparison.differences(ALL)
            own, margin, p = differences[cell], margins.get(comparison.measure), np.nan
            if margin is not None:
                models = list(differences)
                tests = pd.Series([differences[model].p_not_below(-margin) for model in models])
                p = float(holm(tests)[models.index(cell)])
            found.append(Kept(comparison.language, comparison.measure, own.value, *own.interval(LEVEL), p))
        return found

    def score(self, model: Model, language: str, measure: str) -> Score:
        return self.summary.score(model, language, measure)


def same(first: Model, second: Model) -> bool:
    """Whether two models differ in their weight at most."""
    return replace(first, weight=None) == replace(second, weight=None)


def rule_of(grid: Grid, name: str | None) -> BestSpec:
    """What a table of the run with the layout best is told; without such a table, its defaults.

    Raises:
        UserError: the run has no such table.
    """
    tables = {report.name: report.spec for report in grid.reports.values() if report.layout.name == "best"}
    if name is None and not tables:
        methods = list(grid.settings.methods)
        return BestSpec(languages=grid.languages, backbones=grid.settings.backbones, methods=methods)
    if name is not None and name not in tables:
        known = f"It has: {', '.join(tables)}." if tables else "It has none."
        raise UserError(f"--by {name}: the run has no table of that name with the layout best. {known}")
    return read_spec(BestSpec, tables[name or next(iter(tables))])


def evaluated(grid: Grid, cell: Model) -> tuple[dict[str, str] | None, dict]:
    """What the sealed results of a cell say of its weights: the SHA-256 of their files, None where
    the run has merged on disk; and the record of the merge.

    Raises:
        UserError: a result is missing, or two of them are of different weights.
    """
    results = [result for result in grid.results if result.model == cell]
    missing = [str(result.path) for result in results if not result.path.is_file()]
    if missing:
        raise UserError(
            f"{cell.id} is not evaluated: {', '.join(missing)} is missing. A model is published with its scores: "
            "`langmerge run` makes them."
        )
    sealed = [read_sealed(result.path) for result in results]
    digests, records = [one.get("merged_sha256") for one in sealed], [one["model"] for one in sealed]
    if any(own != digests[0] for own in digests):
        raise UserError(
            f"the results of {cell.id} are of different weights. Discard them with `langmerge forget` and run again."
        )
    return digests[0], records[0]
