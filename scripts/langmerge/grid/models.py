"""Which models a run has: the reference models of its backbones, and the union of its experiments'
cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from langmerge.errors import UserError
from langmerge.grid.config import Config
from langmerge.grid.variables import points, variants
from langmerge.model import EXTRA, Model


class Models:
    """The models of a run.

    Attributes:
        by_id: every model once, reference models first.
        pools: for each search the cells that it chooses among, by their variables and weights.
        found: the cells that searches have found and no experiment has (`add_found`).
        languages: for each id the languages that the model is evaluated in, in the run's order.
    """

    def __init__(self, config: Config) -> None:
        """Expand the grid.

        Raises:
            UserError: two weights of one cell cannot be told apart.
        """
        self.config = config
        self.found: list[Model] = []
        every: dict[str, Model] = {}
        wanted: dict[str, set[str]] = {}

        def add(model: Model, languages: list[str] | tuple[str, ...]) -> None:
            known = every.setdefault(model.id, model)
            if known != model:
                raise UserError(
                    f"{config.at(['weights'])}: the weights {known.weight!r} and {model.weight!r} of {model.id} differ only after six digits. Keep one."
                )
            wanted.setdefault(model.id, set()).update(languages)

        for model in self.references():
            add(model, config.evaluated)
        for model in self.extras():
            add(model, ())
        for experiment in config.run["experiments"].values():
            for model in self.cells(experiment):
                add(model, config.evaluated if experiment["evaluate"] == "all" else model.target)
        self.by_id = dict(every)
        self.pools = [*self.searched(config.search)]
        for model in (model for pool in self.pools for model in pool):
            add(model, self.of_search(model))
        self.languages = {id: [code for code in config.evaluated if code in codes] for id, codes in wanted.items()}

    def references(self) -> Iterator[Model]:
        """The reference models that the backbones' files define; adapted and joint ones for the
        run's languages.
        """
        for name in self.config.backbones:
            models = self.config.backbone(name)["models"]
            for method in ("base", "instruct"):
                if method in models:
                    yield Model(name, method)
            for method in ("adapted", "joint"):
                if method in models:
                    known = models[method].get("languages", self.config.languages)
                    yield from (Model(name, method, (code,)) for code in self.config.languages if code in known)

    def extras(self) -> Iterator[Model]:
        """The models with a skill that cells of the run add, as far as the backbones have them.
        They are not evaluated.
        """
        for name in self.config.backbones:
            known = self.config.backbone(name)["models"].get(EXTRA, {})
            methods = (
                self.config.methods.get(method, {})
                for experiment in [*self.config.run["experiments"].values(), {"methods": [], **self.config.search}]
                if name in self.config.backbones_of_run(experiment.get("backbones"))
                for method in experiment["methods"]
            )
            yield from (
                Model(name, EXTRA, (extra,)) for own in methods for extra in own.get(EXTRA, {}) if extra in known
            )

    def cells(self, experiment: dict[str, Any]) -> Iterator[Model]:
        """The cells of an experiment: its backbones x methods x (each language | all of them) x
        weights.
        """
        languages = self.config.languages
        weights = experiment.get("weights") or {"each": self.config.run["weights"]}
        targets = {
            "each": [(code,) for code in languages],
            "multi": [tuple(sorted(languages))] if len(languages) > 1 else [],
        }
        for name in self.config.backbones_of_run(experiment.get("backbones")):
            for method in experiment["methods"]:
                for kind, values in weights.items():
                    for target in targets[kind]:
                        yield from (Model(name, method, target, float(weight)) for weight in values)

    def searched(self, settings: dict[str, Any]) -> Iterator[tuple[Model, ...]]:
        """The cells of each search: one for each backbone, method and language."""
        for name in self.config.backbones if settings else []:
            for method in settings["methods"]:
                for code in self.config.languages:
                    made = [own for own, of, _ in variants(self.config.run) if of == method]
                    yield tuple(
                        Model(name, own, (code,), weight) for own in made for weight in points(settings["weights"])
                    )

    def of_search(self, cell: Model) -> list[str]:
        """The languages that a search evaluates a cell in if it is found."""
        settings, evaluated = self.config.search, self.config.evaluated
        wanted = evaluated if settings["evaluate"] == "all" else [*cell.target, *settings["languages"]]
        return [code for code in evaluated if code in wanted]

    def add_found(self, models: Iterable[Model]) -> None:
        """Make cells that a search has found cells of the run."""
        for model in models:
            if model.id not in self.by_id:
                self.by_id[model.id] = model
                self.found.append(model)

    @property
    def merges(self) -> list[Model]:
        return [model for model in self.by_id.values() if model.is_merge]

    @property
    def reference_models(self) -> list[Model]:
        return [model for model in self.by_id.values() if not model.is_merge]
