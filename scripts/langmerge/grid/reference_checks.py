"""What is refused of reference models before any job: sources, trainings and adapters that do not hold
together, and files that are missing.
"""

from __future__ import annotations

from pathlib import Path

from langmerge.errors import UserError
from langmerge.faults import Faults
from langmerge.grid.config import Config
from langmerge.grid.identity import Identity, check_folder
from langmerge.grid.models import Models
from langmerge.grid.recipes import Recipes
from langmerge.grid.sources import KINDS
from langmerge.model import Model
from langmerge.training.recipe import complete


def check_references(config: Config, models: Models, recipes: Recipes, identity: Identity) -> Faults:
    """Note reference models without exactly one source, trainings that `langmerge train` would
    refuse, missing files.
    """
    faults = Faults()
    for model in models.reference_models:
        place = config.place("backbone", model.backbone, "models", model.method)
        source = recipes.sources.of(model)
        given = [key for key in KINDS if key in source]
        if len(given) != 1:
            found = " and ".join(given) or "no source"
            faults.add(f"{place}: {found} for {model.id}; expected one of path, hub and train.")
            continue
        with faults.kept():
            if "train" in source:
                if "init" in source["train"] and "tokenizer" not in config.backbone(model.backbone):
                    raise UserError(
                        f"{place}.train.init needs a `tokenizer` in this file, with its vocab_size and corpora."
                    )
                origin = source["train"].get("from")
                if origin and origin not in config.backbone(model.backbone)["models"]:
                    raise UserError(f"{place}.train.from: this file has no {origin} model. Add it, or name another.")
                complete(recipes.train(model), f"{place}.train")
                identity.model_key(model)
            elif "path" in source:
                check_folder(Path(source["path"]), f"{place}.path", "base" in source)
            if recipes.sources.adapted_model(model):
                check_adapter(config, recipes, model, place)
    return faults


def check_adapter(config: Config, recipes: Recipes, model: Model, place: str) -> None:
    """Refuse an adapter that cannot be added to its model.

    Raises:
        UserError: says what is in the way.
    """
    content, base = config.backbone(model.backbone), recipes.sources.adapted_model(model)
    if model.method in ("base", "instruct") or base.method not in content["models"]:
        raise UserError(
            f"{place}: an adapter can be the adapted or the joint model, of a base or instruct model of this file."
        )
    if "quantization" in content.get("backend", {}):
        raise UserError(
            f"{place}: an adapter is added in memory, and the backend of {model.backbone} has `quantization`, whose weights "
            "cannot be replaced. Leave it out, or add the adapter with `langmerge merge` and name that folder as `path`."
        )
    if "+" in str(recipes.layout.own_folder(model)):
        raise UserError(
            f"{place}: {recipes.layout.own_folder(model)}: + stands between a model and its adapter. Rename the folder."
        )
