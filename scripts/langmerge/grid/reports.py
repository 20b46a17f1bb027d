"""The tables and figures of a run, and what each is told to show."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langmerge.grid.config import Config
from langmerge.grid.corpora import Corpora
from langmerge.grid.models import Models
from langmerge.measures import CRITERION, MEASURES, VOTES
from langmerge.model import Model
from langmerge.reporting.layouts import DEFAULT_FIGURE, LAYOUTS, Layout

MEASURE_LISTS = ("measures", "criterion")
"""Options of layouts that are lists of measures."""


@dataclass(frozen=True)
class Report:
    """One table, figure or page.

    Attributes:
        name: of its files.
        layout: what it looks like and what it is made from.
        spec: what it shows.
        alias: what a paper calls it; often nothing.
    """

    name: str
    layout: Layout
    spec: dict[str, Any]
    alias: str = ""

    @property
    def in_preview(self) -> bool:
        """Whether it can be drawn while the run goes on: from the scores so far, without every
        answer or anatomy.
        """
        return self.layout.reads == "scores"

    @property
    def caption(self) -> str:
        """What `snakemake --report` says of it, in reStructuredText."""
        return f"{self.layout.caption} The paper calls it ``{self.alias}``." if self.alias else self.layout.caption

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
            because the run has none of their backbones, no task of their measures, or no votes.
    """

    def __init__(
        self, config: Config, models: Models, corpora: Corpora, measured: list[Model], voted: bool = False
    ) -> None:
        """Read what the configuration names.

        Args:
            measured: the trainings that are measured on held-out text.
            voted: whether there are win rates of blind votes.
        """
        self.config = config
        self.models = models
        self.corpora = corpora
        self.trainings = measured
        self.voted = voted
        tables = [self.table(name) for name in config.run["tables"]]
        figures = [self.figure(name) for name in config.run["figures"]]
        own = [report for report in [*tables, *figures] if self.shows_something(report)]
        self.left_out = [report.name for report in [*tables, *figures] if report not in own]
        self.by_name = {report.name: report for report in [*own, *self.of_every_run()]}

    def shows_something(self, report: Report) -> bool:
        """Whether the run has what a report shows."""
        lists = [report.spec[key] for key in ("backbones", *MEASURE_LISTS) if key in report.spec]
        needs = {*report.layout.needs, *([report.spec["measure"]] if "measure" in report.spec else [])}
        return all(lists) and report.spec.get("backbone", "") is not None and needs <= self.measured

    @cached_property
    def measured(self) -> set[str]:
        """The measures that the run's tasks have, and those that are computed from their answers;
        votes only if there are any.
        """
        found = {task["measure"] for task in self.config.run["tasks"]}
        derived = {name for name, measure in MEASURES.items() if found & {*measure.answers_of}}
        return found | derived - ({VOTES} if not self.voted else set())

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
        """Reports that no configuration asks for: the page, the merges' anatomy, a comparison if
        the run names a paper, Table 1 if it has corpora, what it has searched, and the curves of
        trainings with held-out text.
        """
        found = [self.page()]
        if "published" in self.config.run:
            found.append(Report("compare", LAYOUTS["compare"], {"labels": self.labels}))
        if self.corpora.by_name:
            found.append(
                Report("table1", LAYOUTS["table1"], {"languages": self.config.languages, "labels": self.labels})
            )
        if self.trainings:
            found.append(Report("curves", LAYOUTS["curves"], {}))
        if self.models.pools:
            found.append(
                Report("searches", LAYOUTS["searches"], {"languages": self.config.languages, "labels": self.labels})
            )
        if self.models.merges or self.models.pools:
            found.append(
                Report("anatomy", LAYOUTS["anatomy"], {"languages": self.config.languages, "labels": self.labels})
            )
        return found

    def page(self) -> Report:
        """The page that shows everything."""
        languages, evaluated = self.config.languages, self.config.evaluated
        spec = {
            "run": self.config.run["run"],
            "labels": self.labels,
            "languages": languages,
            "evaluation_languages": [code for code in evaluated if code not in languages],
            "names": {code: self.config.language(code)["name"] for code in evaluated},
        }
        return Report("report", LAYOUTS["report"], spec)

    def table(self, name: str) -> Report:
        """A table of the run; without its backbones that the run does not have."""
        settings = dict(self.config.run["tables"][name])
        layout, alias = LAYOUTS[settings.pop("layout")].told(settings), settings.pop("alias", "")
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
            alias,
        )

    def figure(self, name: str) -> Report:
        """A figure of the run, of its first backbone unless it names another."""
        settings = dict(self.config.run["figures"][name])
        layout, alias = LAYOUTS[settings.pop("layout", DEFAULT_FIGURE)], settings.pop("alias", "")
        backbone = settings.pop("backbone", self.config.backbones[0])
        spec = {"labels": self.labels, "languages": self.config.languages, **settings}
        spec |= self.measures(settings)
        if "measure" in layout.options:
            spec.setdefault("measure", next((name for name in CRITERION if name in self.measured), CRITERION[0]))
        spec["backbone"] = backbone if backbone in self.config.backbones else None
        return Report(name, layout, spec, alias)

    @property
    def labels(self) -> dict[str, dict[str, str]]:
        """What backbones, methods and languages are called in tables and figures."""
        return {
            "languages": {code: self.config.language(code)["name"] for code in self.config.evaluated},
            "backbones": {name: self.config.backbone(name).get("label", name) for name in self.config.backbones},
            "methods": {name: method.get("label", name) for name, method in self.config.methods.items()},
        }
