"""A run: everything that its configuration means. This builds the parts and has no logic of its
own.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.faults import Faults
from langmerge.grid import checks, model_checks
from langmerge.grid.batches import Batches
from langmerge.grid.config import Config
from langmerge.grid.corpora import Corpora
from langmerge.grid.costs import Costs
from langmerge.grid.data import GeneratedData
from langmerge.grid.digest import digest
from langmerge.grid.folders import Folders
from langmerge.grid.hub import HubNeeds
from langmerge.grid.identity import Identity
from langmerge.grid.jobs import Jobs
from langmerge.grid.layout import Layout
from langmerge.grid.models import Models
from langmerge.grid.recipes import Recipes
from langmerge.grid.report_checks import check_reports
from langmerge.grid.reports import Reports
from langmerge.grid.resources import processes, resources
from langmerge.grid.results import Results
from langmerge.grid.searches import Searches, check_search
from langmerge.grid.sources import Sources
from langmerge.grid.tasks import Tasks
from langmerge.model import Model
from langmerge.reporting.inputs import Anatomy
from langmerge.yamls import Document, document_argument, is_yaml_text


class Grid:
    """One run.

    A *model* is a cell of the grid (backbone x method x target x weight, a merge) or a reference
    model of a backbone. A *shard* is the set of tasks that one evaluation job runs on one model.
    Its *result* is sealed: the file's name carries a fingerprint of all that determines it.
    """

    def __init__(
        self,
        run: dict[str, Any],
        folders: Folders | None = None,
        source: str = "the run's configuration",
        documents: Sequence[Document] = (),
    ) -> None:
        """Expand a configuration.

        Args:
            run: the run's configuration (config/README.md explains the keys).
            folders: where the files of languages, backbones and benchmarks are.
            source: how messages call the run's configuration.
            documents: the files that it comes from, so that messages can name their lines.

        Raises:
            UserError: the configuration does not hold together; the message has one line for each
                mistake, with file, line and key, and says how to fix it.
        """
        self.settings = Config(run, folders or Folders(), source, documents)
        together(
            checks.check_folders(self.settings),
            checks.check_methods(self.settings),
            checks.check_languages(self.settings),
            checks.check_backbones(self.settings),
            checks.check_published(self.settings),
            checks.check_kept(self.settings),
            check_reports(self.settings),
        )
        self.sources = Sources(self.settings)
        self.layout = Layout.of(self.settings, self.sources)
        self.data = GeneratedData(self.settings)
        self.expansion = Models(self.settings)
        self.tasks = Tasks(self.settings, self.data, self.expansion, self.layout)
        self.costs = Costs(self.settings, self.tasks)
        self.recipes = Recipes(self.settings, self.sources, self.layout)
        together(model_checks.check_same(self.expansion, self.recipes))
        self.corpora = Corpora(self.settings, self.expansion, self.recipes)
        self.identity = Identity(self.settings, self.data, self.recipes, self.tasks, self.corpora)
        together(
            checks.check_tasks(self.settings, self.tasks),
            model_checks.check_references(self.settings, self.expansion, self.recipes, self.identity),
            model_checks.check_merges(self.settings, self.expansion),
            model_checks.check_cells(self.settings, self.expansion, self.recipes),
            check_search(self.settings, self.expansion, self.recipes, self.tasks),
        )
        self.hub = HubNeeds(self.settings, self.expansion, self.sources, self.tasks, self.corpora, self.layout)
        self.results = Results(self.expansion, self.tasks, self.identity, self.hub, self.layout)
        self.searches = Searches(self.settings, self.expansion, self.tasks, self.identity, self.results, self.layout)
        self.run_reports = Reports(
            self.settings, self.expansion, self.corpora, self.measured, self.layout.win_rates.is_file()
        )
        self.batches = Batches(
            self.settings,
            self.expansion,
            self.recipes,
            self.results,
            self.searches,
            self.costs,
            self.run_reports,
            self.layout,
        )
        self.jobs = Jobs(
            self.settings,
            self.expansion,
            self.recipes,
            self.results,
            self.searches,
            self.corpora,
            self.batches,
            self.run_reports,
            self.layout,
        )

    # ---- short names for what everybody asks for

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration with its defaults."""
        return self.settings.run

    @property
    def languages(self) -> list[str]:
        """Codes of the languages merged in."""
        return self.settings.languages

    @property
    def evaluated(self) -> list[str]:
        """Codes of the languages that models are evaluated in: those merged in, then the others."""
        return self.settings.evaluated

    @property
    def models(self) -> dict[str, Model]:
        """Every model by its id."""
        return self.expansion.by_id

    @property
    def reports(self) -> dict[str, Any]:
        """Every table and figure by its name."""
        return self.run_reports.by_name

    @property
    def repositories(self) -> list[dict[str, Any]]:
        """What the run needs of a hub."""
        return self.hub.repositories

    def resources(self, rule: str, backbone: str) -> dict[str, Any]:
        """What a job of a rule asks for."""
        return resources(self.settings, rule, backbone)

    def processes(self, backbone: str) -> int:
        """How many processes a training of a backbone has."""
        return processes(self.settings, backbone)

    @property
    def measured(self) -> list[Model]:
        """The models whose training is measured on held-out text."""
        trained = filter(self.sources.is_trained, self.expansion.reference_models)
        return [model for model in trained if self.recipes.held_out(model)]

    def anatomies(self) -> list[Anatomy]:
        """Every merge's anatomy."""
        merges = self.expansion.merges
        return [Anatomy(self.layout.anatomy(model.id), model, self.recipes.roles(model)) for model in merges]

    def narrower(self) -> str:
        """A name for this run's part of a larger grid, of which its scores.csv is; empty where that
        shows no more models, or others.
        """
        shown, own = shown_models(self.layout.root / "scores.csv"), {result.model.id for result in self.results}
        return digest(sorted(own)) if own < shown else ""


def shown_models(scores: Path) -> set[str]:
    """Ids of the models in a file of scores; none if it is not there.

    Raises:
        UserError: it is no such file.
    """
    if not scores.is_file():
        return set()
    with scores.open(newline="", encoding="utf-8") as file:
        try:
            return {Model.of_columns(row | {"weight": row["weight"] or None}).id for row in csv.DictReader(file)}
        except (KeyError, ValueError, csv.Error) as error:
            raise UserError(f"{scores} holds no scores ({error!r}). Delete it; the run makes it again.") from None


def together(*found: Faults) -> None:
    """Refuse what several checks have noted, in one message.

    Raises:
        UserError: one of them has noted something.
    """
    faults = Faults()
    for each in found:
        faults.add(*each.messages)
    faults.refuse()


def default_run() -> str:
    """The run of a command that names none: the user's config/config.yaml, or the shipped one."""
    return str(Folders().find("config.yaml"))


def read_run(argument: str, folders: Folders | None = None) -> Grid:
    """The run that a command's argument names: the path of its configuration, or YAML text.

    Raises:
        UserError: it cannot be read, or does not hold together.
    """
    source = "the run's configuration" if is_yaml_text(argument) else argument
    document = document_argument(argument)
    if not isinstance(document.content, dict):
        raise UserError(f"{source} holds a list, expected a mapping. config/README.md explains its keys.")
    return Grid(document.content, folders, source, [replace(document, name=source)])
