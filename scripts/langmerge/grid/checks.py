"""What is refused before any job: methods, experiments and reference models that do not hold
together.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from langmerge.errors import UserError
from langmerge.grid.config import Config
from langmerge.grid.identity import Identity
from langmerge.grid.models import Models
from langmerge.grid.recipes import Recipes
from langmerge.grid.sources import KINDS
from langmerge.grid.tasks import ASKED, FLORES, MINIATURE, Tasks
from langmerge.measures import MEASURES
from langmerge.merging.methods import METHODS, check_parameters
from langmerge.model import REFERENCES, Model
from langmerge.training.recipe import complete


def check_methods(config: Config) -> None:
    """Refuse methods that do not exist, and experiments that name methods which are not defined.

    Raises:
        UserError: names the key.
    """
    methods = config.run["methods"]
    for name, method in methods.items():
        where = f"{config.source}: methods.{name}"
        if name in REFERENCES:
            raise UserError(f"{where}: this name is taken by a reference model. Choose another.")
        if method["merge_method"] not in METHODS:
            known = ", ".join(sorted(METHODS))
            raise UserError(f"{where}.merge_method: unknown method {method['merge_method']!r}. Known: {known}.")
    for name, experiment in config.run["experiments"].items():
        for backbone in experiment.get("backbones", []):
            config.backbone(backbone)
        for method in experiment["methods"]:
            if method not in methods:
                raise UserError(
                    f"{config.source}: experiments.{name}.methods: unknown method {method!r}. Known: {', '.join(sorted(methods))}. "
                    "Define it under `methods`."
                )


def check_tasks(config: Config, tasks: Tasks) -> None:
    """Refuse tasks that no catalogue knows, own tasks whose files are missing, and settings that do
    not fit together or are for no task.

    Raises:
        UserError: names the task.
    """
    for code in config.evaluated:
        for task in tasks.of(code):
            tasks.entry(task["task"])
    check_settings(config, config.run["task_settings"], f"{config.source}: task_settings")
    for name in config.backbones:
        file, content = config.where("backbone", name), config.backbone(name)
        check_settings(config, content.get("tasks", {}), f"{file}: tasks")
        hours = content.get("hours", {}).get("evaluate")
        if isinstance(hours, dict):
            shards = [*config.evaluated, "all"]
            of_tasks = {
                name: {} for name in hours if name not in shards and not config.folders.find(f"languages/{name}.yaml")
            }
            check_settings(config, of_tasks, f"{file}: hours.evaluate")
        for code in config.evaluated:
            for kind in ASKED:
                tasks.asked(name, kind, code)


def check_settings(config: Config, settings: dict[str, dict], where: str) -> None:
    """Refuse settings whose name or pattern fits no task that there is: probably a slip."""
    for pattern in settings:
        given = pattern.rstrip("*")
        made = any(given.startswith(prefix) or prefix.startswith(given) for prefix in (MINIATURE, FLORES))
        if not made and not any(fnmatchcase(task, pattern) for task in config.benchmarks):
            raise UserError(
                f"{where}: no task is called {pattern!r}: it is neither in config/benchmarks.yaml nor a task of the miniature world "
                f"(mini_...) or of FLORES ({FLORES}...). Correct the name or the pattern."
            )


def check_published(config: Config) -> None:
    """Refuse the name of a paper whose numbers are not there.

    Raises:
        UserError: names the papers that are.
    """
    name = config.run.get("published")
    if name is not None and config.folders.find(f"published/{name}") is None:
        known = ", ".join(config.folders.names("published"))
        raise UserError(
            f"{config.source}: published: there is no folder {config.folders.own}/published/{name}. Known: {known}. Correct the "
            "name, or leave the key out."
        )


def check_kept(config: Config) -> None:
    """Refuse a table that is to keep what is neither a language of the run nor a measure with a
    margin.

    Raises:
        UserError: names the table and what it is to keep.
    """
    margins = config.run["margins"]
    for name, table in config.run["tables"].items():
        for kept in table.get("keep", []):
            where = f"{config.source}: tables.{name}.keep: {kept}"
            if kept in MEASURES and kept not in margins:
                raise UserError(
                    f"{where}: this measure has no margin. Add `margins: {{{kept}: points}}`: how many points count as nothing."
                )
            if kept not in MEASURES and kept not in config.evaluated:
                known = ", ".join([*margins, *config.evaluated])
                raise UserError(f"{where}: neither a measure nor a language of the run. Known: {known}.")
            if not margins:
                raise UserError(f"{where}: no measure has a margin. Add `margins: {{measure: points}}` to the run.")


def check_references(config: Config, models: Models, recipes: Recipes, identity: Identity) -> None:
    """Refuse reference models without exactly one source, trainings that `langmerge train` would
    refuse, missing files.

    Raises:
        UserError: names the file and the key.
    """
    for model in models.reference_models:
        where = f"{config.where('backbone', model.backbone)}: models.{model.method}"
        source = recipes.sources.of(model)
        given = [key for key in KINDS if key in source]
        if len(given) != 1:
            found = " and ".join(given) or "no source"
            raise UserError(f"{where}: {found} for {model.id}; expected one of path, hub and train.")
        if "train" in source:
            if "init" in source["train"] and "tokenizer" not in config.backbone(model.backbone):
                raise UserError(
                    f"{where}.train.init needs a `tokenizer` in this file, with its vocab_size and corpora."
                )
            complete(recipes.train(model), f"{where}.train")
            identity.model_key(model)


def check_cells(config: Config, models: Models, recipes: Recipes) -> None:
    """Refuse cells whose models the backbone does not have, or whose method does not take the
    parameters.

    Raises:
        UserError: names the experiment or the method, and the backbone.
    """
    for name, experiment in config.run["experiments"].items():
        for model in models.cells(experiment):
            check_cell(config, recipes, model, f"{config.source}: experiments.{name}")


def check_cell(config: Config, recipes: Recipes, model: Model, where: str) -> None:
    """`check_cells` for one of them."""
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
    recipe = recipes.merge(model)
    try:
        check_parameters(
            method, [entry.get("parameters", {}) for entry in recipe["models"]], recipe.get("parameters", {})
        )
    except UserError as error:
        raise UserError(f"{config.source}: methods.{model.method}, used by {model.id}: {error}") from error
