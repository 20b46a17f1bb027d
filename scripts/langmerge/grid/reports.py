"""The tables and figures of a run, and what each is told to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langmerge.grid.config import Config
from langmerge.grid.models import Models
from langmerge.reporting.layouts import DEFAULT_FIGURE, LAYOUTS, Layout


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
    """The reports of a run."""

    def __init__(self, config: Config, models: Models) -> None:
        self.config = config
        self.models = models
        tables = [self.table(name) for name in config.run["tables"]]
        figures = [self.figure(name) for name in config.run["figures"]]
        own = [report for report in [*tables, *figures] if report.spec.get("backbones", [report.spec.get("backbone")])]
        self.by_name = {report.name: report for report in [*own, *self.of_every_run()]}

    def of_every_run(self) -> list[Report]:
        """Reports that no configuration asks for: the merges' anatomy, a comparison if the run names
        a paper, and Table 1 if it has corpora.
        """
        found = []
        if "published" in self.config.run:
            found.append(Report("compare", LAYOUTS["compare"], {"labels": self.labels}))
        if self.config.run["corpora"]:
            found.append(
                Report("table1", LAYOUTS["table1"], {"languages": self.config.languages, "labels": self.labels})
            )
        if self.models.merges:
            found.append(
                Report("anatomy", LAYOUTS["anatomy"], {"languages": self.config.languages, "labels": self.labels})
            )
        return found

    def table(self, name: str) -> Report:
        """A table of the run; without its backbones that the run does not have."""
        settings = dict(self.config.run["tables"][name])
        layout = LAYOUTS[settings.pop("layout")]
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
                **settings,
                **shown,
            },
        )

    def figure(self, name: str) -> Report:
        """A figure of the run, of its first backbone unless it names another."""
        settings = dict(self.config.run["figures"][name])
        layout = LAYOUTS[settings.pop("layout", DEFAULT_FIGURE)]
        backbone = settings.pop("backbone", self.config.backbones[0])
        spec = {"labels": self.labels, "languages": self.config.languages, **settings}
        return Report(name, layout, {**spec, "backbone": backbone if backbone in self.config.backbones else None})

    @property
    def labels(self) -> dict[str, dict[str, str]]:
        """What backbones and methods are called in tables and figures."""
        return {
            "backbones": {name: self.config.backbone(name).get("label", name) for name in self.config.backbones},
            "methods": {name: method.get("label", name) for name, method in self.config.run["methods"].items()},
        }
