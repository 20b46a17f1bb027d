"""Recipes: how each model of the run is made, as data for `langmerge merge` and `langmerge train`."""

from __future__ import annotations

from typing import Any

from langmerge.errors import UserError
from langmerge.grid.config import Config
from langmerge.grid.layout import Layout, is_corpus
from langmerge.grid.sources import Sources
from langmerge.grid.variables import FORMULAS
from langmerge.merging.methods import METHODS, Method
from langmerge.model import EXTRA, Model


class Recipes:
    """The recipes of a run's models."""

    def __init__(self, config: Config, sources: Sources, layout: Layout) -> None:
        self.config = config
        self.sources = sources
        self.layout = layout

    # ---- merges

    def in_memory(self, model: Model) -> bool:
        """Whether a model is a cell that is merged in the memory of the engine that evaluates it,
        or an adapter, which is added to its model there.
        """
        if model.is_merge:
            return self.merges(model.backbone) == "memory" and "tokenizer" not in self.settings(model)
        return self.sources.adapted_model(model) is not None

    def merges(self, backbone: str) -> str:
        """`memory` or `disk`, as the run says; by default memory, where the backend can: weights
        that it quantises when it loads them cannot be replaced.
        """
        quantised = "quantization" in self.config.backbone(backbone).get("backend", {})
        return self.config.run.get("merges") or ("disk" if quantised else "memory")

    def settings(self, model: Model) -> dict[str, Any]:
        """What the run says of a merge's method."""
        return self.config.methods[model.method]

    def method(self, model: Model) -> Method:
        """The merge method of a cell."""
        return METHODS[self.settings(model)["merge_method"]]

    def base(self, model: Model) -> Model:
        """The model that a merge takes as its base."""
        return Model(model.backbone, self.settings(model).get("base", "base"))

    def members(self, model: Model) -> list[tuple[str, Model]]:
        """The models that are merged, each with its role: `instruct`, then each `language`, then
        each `extra`.
        """
        languages = [("language", Model(model.backbone, "adapted", (code,))) for code in model.target]
        extras = [(EXTRA, Model(model.backbone, EXTRA, (name,))) for name in self.settings(model).get(EXTRA, {})]
        return [("instruct", Model(model.backbone, "instruct")), *languages, *extras]

    def merge(self, model: Model) -> dict[str, Any]:
        """A cell's recipe in mergekit's YAML, as data.

        The instruct model has weight 1 and each language model w, unless the method says otherwise,
        which also gives the weight of each extra. An adapter is added to its model.

        Raises:
            UserError: a formula leaves a negative weight.
        """
        if self.sources.adapted_model(model):
            own = str(self.layout.model(model))
            dtype = self.config.backbone(model.backbone)["dtype"]
            alone = {"merge_method": "passthrough", "models": [{"model": own}], "tokenizer_source": own}
            return {**alone, "dtype": "float32", "out_dtype": dtype}
        settings, method = self.settings(model), self.method(model)
        given = settings.get("parameters", {})

        def value(parameter: Any, role: str) -> Any:
            chosen = parameter.get(role, parameter["language"]) if isinstance(parameter, dict) else parameter
            return self.evaluate(chosen, model)

        def own(role: str, member: Model) -> dict[str, Any]:
            found = {name: value(parameter, role) for name, parameter in given.items() if name in method.per_model}
            if "weight" not in method.per_model:
                return found
            return {"weight": self.evaluate(self.weight(settings, role, member), model), **found}

        instruct = str(self.layout.model(Model(model.backbone, "instruct")))
        recipe: dict[str, Any] = {
            "merge_method": method.name,
            "models": [
                {
                    "model": str(self.layout.model(member)),
                    "parameters": own(role, member),
                }
                for role, member in self.members(model)
            ],
            "parameters": {
                name: value(parameter, "language") for name, parameter in given.items() if name not in method.per_model
            },
            "dtype": "float32",
            "out_dtype": self.config.backbone(model.backbone)["dtype"],
            "tokenizer_source": instruct,
        }
        if method.needs_base:
            recipe["base_model"] = str(self.layout.model(self.base(model)))
        recipe |= {key: settings[key] for key in ("rows", "towers", "accept") if key in settings}
        if settings.get("tokenizer") == "union":
            recipe["tokenizer"] = {"source": "union"}
        elif "tokenizer" in settings:
            adapted = next(str(self.layout.model(member)) for role, member in self.members(model) if role == "language")
            recipe |= {"tokenizer": {"source": adapted}, "tokenizer_source": adapted, "chat_template_source": instruct}
        if "special_tokens" in settings:
            recipe["special_tokens"] = str(self.layout.model(Model(model.backbone, settings["special_tokens"])))
        return recipe

    def portable(self, model: Model) -> dict[str, Any]:
        """A cell's recipe, with the ids of models in place of their folders."""
        ids = {str(self.layout.model(parent)): parent.id for parent in self.parents(model)}
        return replaced(self.merge(model), ids)

    def weight(self, settings: dict[str, Any], role: str, member: Model) -> Any:
        """What a method of the run says of the weight of a model: a value."""
        if role == EXTRA:
            return settings[EXTRA][member.target[0]]
        return settings.get(f"{role}_weight", {"instruct": 1.0, "language": "w"}[role])

    def evaluate(self, value: Any, model: Model) -> Any:
        """A value with those of its formulas for a cell: one, or a gradient over the layers, or a
        list of {filter, value}.

        Raises:
            UserError: a formula is negative.
        """
        if isinstance(value, list):
            return [self.evaluate(part, model) for part in value]
        if isinstance(value, dict):
            return {**value, "value": self.evaluate(value["value"], model)}
        if not isinstance(value, str):
            return value
        if value not in FORMULAS:
            return self.settings(model)["variables"][value]
        found = FORMULAS[value](model.weight, len(model.target))
        if found < 0:
            raise UserError(
                f"{self.config.at_method(model.method)}: {value} is {found:g} for {model.id}: the other models would have a "
                f"negative weight. Use smaller weights, at most 1 / the number of languages."
            )
        return found

    def anatomy_base(self, backbone: str) -> Model | None:
        """The model from which a merge's anatomy takes task vectors, if the backbone has one."""
        return Model(backbone, "base") if self.sources.has(backbone, "base") else None

    def roles(self, model: Model) -> dict[str, str]:
        """For each member of a merge its folder, and what figures call it: `instruct`, or its
        language.
        """
        return {
            str(self.layout.model(member)): "+".join(member.target) or member.method
            for _, member in self.members(model)
        }

    # ---- trainings

    def train(self, model: Model) -> dict[str, Any]:
        """The recipe of a training, with the paths of this run."""
        settings = dict(self.sources.of(model)["train"])
        origin = settings.pop("from", None)
        data = {self.text(name, model, "train"): share for name, share in self.corpora(model).items()}
        del settings["data"]
        if "held_out" in settings:
            settings["held_out"] = {
                code: self.text(name, model, "held_out") for code, name in self.held_out(model).items()
            }
        start = {"from": str(self.layout.model(Model(model.backbone, origin)))} if origin else {}
        start = start or {"tokenizer": str(self.layout.tokenizer(model.backbone))}
        return {**start, "data": data, "seed": self.config.run["seed"], **settings}

    def text(self, name: str, model: Model, part: str) -> str:
        """The path of a text that a training reads; of a corpus, of one part of its tokens."""
        if is_corpus(name):
            return str(self.layout.tokens(name, model.backbone) / part)
        return str(self.layout.training_file(name))

    def corpora(self, model: Model) -> dict[str, float]:
        """The texts of a training by name (`eu/corpus`, a file of the user's own, or a corpus),
        with the share of each.
        """
        data = self.sources.of(model)["train"]["data"]
        return {of_language(name, model): share for name, share in data.items()}

    def held_out(self, model: Model) -> dict[str, str]:
        """The names of the texts that a training is measured on, by language."""
        given = self.sources.of(model)["train"].get("held_out", {})
        return {of_language(code, model): of_language(name, model) for code, name in given.items()}

    def tokenizer_corpora(self, backbone: str) -> list[str]:
        """The files that a backbone's tokenizer learns from: a list of its own, so that a new
        language does not change it.
        """
        return [str(self.layout.training_file(name)) for name in self.config.backbone(backbone)["tokenizer"]["corpora"]]

    # ---- what is made from what

    def parents(self, model: Model) -> list[Model]:
        """The models that this one is made from."""
        if model.is_merge:
            members = [member for _, member in self.members(model)]
            base = [self.base(model)] if self.method(model).needs_base else []
            return list(dict.fromkeys([*members, *base]))
        if same := self.sources.same(model):
            return [same]
        source = self.sources.of(model)
        origin = source.get("base") or source.get("train", {}).get("from")
        return [Model(model.backbone, origin)] if origin else []

    def read_by(self, model: Model) -> list[Model]:
        """The models that are read to make this one: its parents and, for a merge's anatomy, the
        base; of an adapter itself and its model.
        """
        examined = self.anatomy_base(model.backbone) if self.in_memory(model) or model.is_merge else None
        own = [] if model.is_merge else [model]
        return list(dict.fromkeys([*self.parents(model), *own, *([examined] if examined else [])]))


def of_language(name: str, model: Model) -> str:
    """A name in which `{language}` stands for a model's language."""
    return name.replace("{language}", model.target[0] if model.target else "none")


def replaced(value: Any, texts: dict[str, str]) -> Any:
    """A value with some of the texts in it replaced by others."""
    if isinstance(value, dict):
        return {key: replaced(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, texts) for item in value]
    return texts.get(value, value) if isinstance(value, str) else value
