"""Which models a run has: the reference models of its backbones, and the union of its experiments'
cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langmerge.errors import UserError
from langmerge.grid.config import Config
from langmerge.model import EXTRA, Model


class Models:
    """The models of a run.

    Attributes:
        by_id: every model once, reference models first.
        languages: for each id the languages that the model is evaluated in, in the run's order.
    """

    def __init__(self, config: Config) -> None:
        """Expand the grid.

        Raises:
            UserError: two weights of one cell cannot be told apart.
        """
        self.config = config
        self.by_id: dict[str, Model] = {}
        wanted: dict[str, set[str]] = {}

        def add(model: Model, languages: list[str] | tuple[str, ...]) -> None:
            known = self.by_id.setdefault(model.id, model)
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
        """The models with a skill that cells of the run add, as far as the backbones have them. They
        are not evaluated.
        """
        for name in self.config.backbones:
            known = self.config.backbone(name)["models"].get(EXTRA, {})
            methods = (
                self.config.run["methods"].get(method, {})
                for experiment in self.config.run["experiments"].values()
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

    @property
    def merges(self) -> list[Model]:
        return [model for model in self.by_id.values() if model.is_merge]

    @property
    def reference_models(self) -> list[Model]:
        return [model for model in self.by_id.values() if not model.is_merge]
