"""Where the reference models of a backbone come from: a folder, a hub, a training or another model
of this run.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from langmerge.errors import UserError
from langmerge.grid.config import Config
from langmerge.model import EXTRA, Model

KINDS = ("path", "hub", "train", "model")


class Sources:
    """The sources of reference models."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.of = cache(self._of)

    def _of(self, model: Model) -> dict[str, Any]:
        """The source of a reference model: {path}, {hub, revision}, {train} or {model}, and the
        other keys
        of its entry.

        Keys under `languages.<code>` replace those of the entry, keys of its `train` those of the
        entry's, and `{language}` is filled in.
        """
        entry = self.config.backbone(model.backbone)["models"][model.method]
        if model.method == EXTRA:
            return entry[model.target[0]]
        languages = entry.get("languages", {})
        own = languages.get(model.target[0], {}) if model.target and isinstance(languages, dict) else {}
        source = {**entry, **own}
        if "train" in entry and "train" in own:
            source["train"] = {**entry["train"], **own["train"]}
        for key in ("path", "hub", "model"):
            if key in source:
                source[key] = source[key].replace("{language}", "+".join(model.target))
        return source

    def same(self, model: Model) -> Model | None:
        """The model of the run that a reference model is, where its source names one (`model`).

        Raises:
            UserError: the name is not the id of a model.
        """
        source = {} if model.is_merge else self.of(model)
        try:
            return Model.parse(source["model"]) if "model" in source else None
        except ValueError as error:
            where = self.config.place("backbone", model.backbone, "models", model.method)
            raise UserError(f"{where}.model: {error}.") from None

    def adapted_model(self, model: Model) -> Model | None:
        """The model that a LoRA adapter belongs to, if a reference model is one; None for others."""
        if model.is_merge:
            return None
        if same := self.same(model):
            return self.adapted_model(same)
        source = self.of(model)
        recipe = source.get("train", {})
        role = source.get("base") or (recipe.get("from") if "lora" in recipe else None)
        return Model(model.backbone, role) if role else None

    def is_trained(self, model: Model) -> bool:
        """Whether this run trains the model."""
        return not model.is_merge and "train" in self.of(model)

    def has(self, backbone: str, method: str) -> bool:
        """Whether the backbone's file defines such a reference model."""
        return method in self.config.backbone(backbone)["models"]
