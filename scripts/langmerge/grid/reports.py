"""The tables and figures of a run, and what each is told to show."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langmerge.grid.config import Config
from langmerge.grid.corpora import Corpora
from langmerge.grid.models import Models
from langmerge.measures import MEASURES
from langmerge.model import Model
from langmerge.reporting.layouts import DEFAULT_FIGURE, LAYOUTS, Layout

MEASURE_LISTS = ("measures", "criterion")
"""Options of layouts that are lists of measures."""


@dataclass(frozen=True)
class Report:
    """One table or figure.

    Attributes:
        name: of its files.
        layout: what it looks like and what it is made from.
        spec: what it shows.
    """

    name: str
    layout: Layout
    spec: dict[str, Any]

    @property
    def in_preview(self) -> bool:
        """Whether it can be drawn while the run goes on: from the scores so far, without every
        answer or anatomy.
        """
        return self.layout.reads == "scores"

    @property
    def rule(self) -> str:
        """The rule that makes it: `table` and `figure` draw whatever a configuration names from
        scores.csv.
        """
        layout = self.layout
        return layout.kind if layout.reads == "scores" and layout.made == "named" else layout.name


class Reports:
    """The reports of a run.

    Attributes:
        left_out: names of tables and figures that the configuration names and that show nothing,
            because the run has none of their backbones or no task of their measures.
    """

    def __init__(self, config: Config, models: Models, corpora: Corpora, measured: list[Model]) -> None:
        """Read what the configuration names.

        Args:
            measured: the trainings that are measured on held-out text.
        """
        self.config = config
        self.models = models
        self.corpora = corpora
        self.trainings = measured
        tables = [self.table(name) for name in config.run["tables"]]
        figures = [self.figure(name) for name in config.run["figures"]]
        own = [report for report in [*tables, *figures] if self.shows_something(report)]
        self.left_out = [report.name for report in [*tables, *figures] if report not in own]
        self.by_name = {report.name: report for report in [*own, *self.of_every_run()]}

    def shows_something(self, report: Report) -> bool:
        """Whether the run has what a report shows."""
        lists = [report.spec[key] for key in ("backbones", *MEASURE_LISTS) if key in report.spec]
        return all(lists) and report.spec.get("backbone", "") is not None and {*report.layout.needs} <= self.measured

    @cached_property
    def measured(self) -> set[str]:
        """The measures that the run's tasks have, and those that are computed from their answers."""
        found = {task["measure"] for task in self.config.run["tasks"]}
        return found | {name for name, measure in MEASURES.items() if found & {*measure.answers_of}}

    def measures(self, settings: dict[str, Any]) -> dict[str, list[str]]:
        """The lists of measures of an entry, without those that no task has: their panels, columns
        and rows would be empty.
        """
        return {
            key: [measure for measure in settings[key] if measure in self.measured]
            for key in MEASURE_LISTS
            if key in settings
        }

    def of_every_run(self) -> list[Report]:
        """Reports that no configuration asks for: the merges' anatomy, a comparison if the run names
        a paper, Table 1 if it has corpora, and the curves of trainings with held-out text.
        """
        found = []
        if "published" in self.config.run:
            found.append(Report("compare", LAYOUTS["compare"], {"labels": self.labels}))
        if self.corpora.by_name:
            found.append(
                Report("table1", LAYOUTS["table1"], {"languages": self.config.languages, "labels": self.labels})
            )
        if self.trainings:
            found.append(Report("curves", LAYOUTS["curves"], {}))
        if self.models.merges:
            found.append(
                Report("anatomy", LAYOUTS["anatomy"], {"languages": self.config.languages, "labels": self.labels})
            )
        return found

    def table(self, name: str) -> Report:
        """A table of the run; without its backbones that the run does not have."""
        settings = dict(self.config.run["tables"][name])
        layout = LAYOUTS[settings.pop("layout")].told(settings)
        margins = {"margins": self.config.run["margins"]} if layout.reads == "answers" else {}
        languages, evaluated = self.config.languages, self.config.evaluated
        shown = {
            key: self.config.backbones_of_run(settings.get(key))
            for key in ("backbones", "baselines")
            if key in settings or key == "backbones"
        }
        return Report(
            name,
            layout,
            {
                "labels": self.labels,
                "languages": languages,
                "evaluation_languages": [code for code in evaluated if code not in languages],
                **margins,
                **settings,
                **self.measures(settings),
                **shown,
            },
        )

    def figure(self, name: str) -> Report:
        """A figure of the run, of its first backbone unless it names another."""
        settings = dict(self.config.run["figures"][name])
        layout = LAYOUTS[settings.pop("layout", DEFAULT_FIGURE)]
        backbone = settings.pop("backbone", self.config.backbones[0])
        spec = {"labels": self.labels, "languages": self.config.languages, **settings, **self.measures(settings)}
        return Report(name, layout, {**spec, "backbone": backbone if backbone in self.config.backbones else None})

    @property
    def labels(self) -> dict[str, dict[str, str]]:
        """What backbones and methods are called in tables and figures."""
        return {
            "backbones": {name: self.config.backbone(name).get("label", name) for name in self.config.backbones},
            "methods": {name: method.get("label", name) for name, method in self.config.run["methods"].items()},
        }
