"""What is refused of models and cells before any job: sources of reference models, cells whose
models or parameters do not fit. Each check notes all mistakes that it finds, as in checks.py.
"""

from __future__ import annotations

from pathlib import Path

from langmerge.errors import UserError
from langmerge.faults import Faults, nearest
from langmerge.grid.config import Config
from langmerge.grid.identity import Identity, check_folder
from langmerge.grid.models import Models
from langmerge.grid.recipes import Recipes
from langmerge.grid.sources import KINDS
from langmerge.merging.methods import check_parameters
from langmerge.model import EXTRA, Model
from langmerge.training.recipe import complete


def check_same(models: Models, recipes: Recipes) -> Faults:
    """Note reference models that are to be another model of the run, which there is not, or which
    is made from themselves.
    """
    faults = Faults()
    for model in models.reference_models:
        with faults.kept():
            if not (same := recipes.sources.same(model)):
                continue
            extra = model.target if model.method == EXTRA else ()
            place = recipes.config.place("backbone", model.backbone, "models", model.method, *extra, "model")
            if same.id not in models.by_id:
                raise UserError(
                    f"{place}: {same.id} is not a model of this run.{nearest(same.id, models.by_id)} A cell needs an experiment that has it."
                )
            if model in made_from(same, models, recipes):
                raise UserError(f"{place}: {same.id} is made from {model.id} itself. Name another model.")
    return faults


def made_from(model: Model, models: Models, recipes: Recipes) -> set[Model]:
    """A model and all that it is made from, as far as the run has it."""
    found: set[Model] = set()
    waiting = [model]
    while waiting:
        one = waiting.pop()
        if one not in found and one.id in models.by_id:
            found.add(one)
            waiting += recipes.parents(one)
    return found


def check_references(config: Config, models: Models, recipes: Recipes, identity: Identity) -> Faults:
    """Note reference models without exactly one source, trainings that `langmerge train` would
    refuse, missing files.
    """
    faults = Faults()
    for model in models.reference_models:
        extra = model.target if model.method == EXTRA else ()
        place = config.place("backbone", model.backbone, "models", model.method, *extra)
        source = recipes.sources.of(model)
        given = [key for key in KINDS if key in source]
        if len(given) != 1:
            found = " and ".join(given) or "no source"
            faults.add(f"{place}: {found} for {model.id}; expected one of {', '.join(KINDS)}.")
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
            f"{place}: an adapter can be the adapted or the joint model or an extra, of a base or instruct model of this file."
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


def check_merges(config: Config, models: Models) -> Faults:
    """Note cells to keep that are not in the run, and merges in memory where the backend cannot."""
    faults = Faults()
    for number, id in enumerate(config.run["keep"]):
        if id not in models.by_id or not models.by_id[id].is_merge:
            known = ", ".join(model.id for model in models.merges[:5])
            faults.add(f"{config.at(['keep', number])}: {id!r} is no cell of this run. Its cells: {known}, ...")
    for name in config.backbones if config.run.get("merges") == "memory" else []:
        if "quantization" in config.backbone(name).get("backend", {}):
            faults.add(
                f"{config.at(['merges'])}: memory: {name} has `quantization` in its backend, whose weights cannot be replaced. "
                "Leave `merges` out, or set it to disk."
            )
    return faults


def check_cells(config: Config, models: Models, recipes: Recipes) -> Faults:
    """Note cells whose models the backbone does not have, or whose method does not take the
    parameters.
    """
    faults = Faults()
    for name, experiment in config.run["experiments"].items():
        for model in models.cells(experiment):
            with faults.kept():
                check_cell(config, recipes, model, config.at(["experiments", name]))
    return faults


def check_cell(config: Config, recipes: Recipes, model: Model, where: str) -> None:
    """`check_cells` for one of them.

    Raises:
        UserError: names the experiment or the method, and the backbone.
    """
    method = recipes.method(model)
    defined = config.backbone(model.backbone)["models"]
    file = config.where("backbone", model.backbone)
    base = [recipes.base(model).method] if method.needs_base else []
    for role in ["instruct", "adapted", *base]:
        if role not in defined:
            raise UserError(
                f"{where}: {model.method} ({method.name}) needs the {role} model of {model.backbone}, and {file} has none. Add it "
                "there, or leave the method out for this backbone."
            )
    for code in model.target:
        if code not in defined["adapted"].get("languages", config.languages):
            raise UserError(
                f"{where}: {model.backbone} has no model adapted to {code!r} ({file}, models.adapted.languages). Name one there, "
                "or leave the language or the backbone out."
            )
    for name in recipes.settings(model).get(EXTRA, {}):
        known = defined.get(EXTRA, {})
        if name not in known:
            raise UserError(
                f"{config.at_method(model.method, EXTRA, name)}: {file} has no model of this name under models.extra."
                f"{nearest(name, known)} Add it there, or leave the method out for {model.backbone}."
            )
    if recipes.settings(model).get("tokenizer") == "adapted" and len(model.target) > 1:
        raise UserError(
            f"{config.at(['methods', model.method, 'tokenizer'])}: adapted: {model.id} has {len(model.target)} adapted models. Write "
            "union, or leave the method out for several languages at once."
        )
    recipe = recipes.merge(model)
    try:
        check_parameters(
            method, [entry.get("parameters", {}) for entry in recipe["models"]], recipe.get("parameters", {})
        )
    except UserError as error:
        raise UserError(f"{config.at_method(model.method)}, used by {model.id}: {error}") from error
