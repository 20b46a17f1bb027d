"""The grid: configuration files -> the models to make, the tasks to evaluate them on, and the path of each.

Pure Python, no torch: every dry run and every Slurm job imports it. All paths of a run are made here and nowhere else.

A *model* is a cell of the grid (backbone x method x target x weight, a merge) or a reference model of the backbone (base,
instruct, adapted to a language, joint), which has an id of the same shape:

    mini/linear/ca+es+eu+gl/w0.25    mini/adapted/eu/w1    mini/instruct/none/w0

A *shard* is the set of tasks that one evaluation job runs on one model. Its result is sealed: the file's name carries a
fingerprint of all that determines it, so that a file that exists is right and its model need not exist any more.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from langmerge.errors import UserError
from langmerge.evaluation.units import answering
from langmerge.merging.methods import METHODS, check_parameters
from langmerge.training.recipe import complete
from langmerge.yamls import yaml_argument

SCHEMAS = Path(__file__).parent / "schemas"

REFERENCES = ("base", "instruct", "adapted", "joint")

MINIATURE, FLORES, SAFETY = "mini_", "flores_", "safety_"
"""How the names of the miniature world's tasks begin, of those that translate FLORES, and of those that a judge reads."""

FORMULAS = {
    "w": lambda w, n: w,
    "1-nw": lambda w, n: 1 - n * w,
}
"""What a method's parameter may be of the cell's weight w and the number n of its languages."""

OWN_FILES = (".jsonl", ".jsonl.gz")
"""How the name of a training file of the user's own ends; other names are corpora of the run, such as `eu/corpus`."""

SEMANTICS = {"corpus": 1, "train": 1, "merge": 5, "evaluate": 2}
"""A stage's number is part of the fingerprint of everything made by it: raise it when its code changes what results mean."""


@dataclass(frozen=True, order=True)
class Model:
    """One model of the run.

    Attributes:
        backbone: name of a file in config/backbones.
        method: a method of the run's config, or one of REFERENCES.
        target: the languages merged in, sorted; one for adapted and joint; none for base and instruct.
        weight: w, for merges; None for references.
    """

    backbone: str
    method: str
    target: tuple[str, ...] = ()
    weight: float | None = None

    @property
    def is_merge(self) -> bool:
        return self.method not in REFERENCES

    @property
    def id(self) -> str:
        weight = (1 if self.target else 0) if self.weight is None else self.weight
        return f"{self.backbone}/{self.method}/{'+'.join(self.target) or 'none'}/w{weight:g}"


class Grid:
    """What one run consists of.

    Args:
        config: the run's configuration (config/README.md lists the keys).
        folder: the folder with languages/ and backbones/.
        source: how messages name the run's configuration.

    Raises:
        UserError: the configuration does not hold together; the message names file and key and says how to mend it.
    """

    def __init__(self, config: dict[str, Any], folder: Path, source: str = "the run's configuration") -> None:
        self.folder = Path(folder)
        self.source = source
        self.config = config = normalised(config)
        validate(config, "run", source)
        self.languages: list[str] = config["languages"]
        self.evaluated: list[str] = [
            *self.languages,
            *(code for code in config["evaluation_languages"] if code not in self.languages),
        ]
        self.root = Path(config["results"]) / config["run"]
        for code in self.evaluated:
            for task in self.tasks(code):
                self.benchmark(task["task"])
        self.published()
        self.check_methods()
        self.models: dict[str, Model] = {}
        self.languages_of: dict[str, list[str]] = {}
        for model in self.references():
            self.check_reference(model)
            self.add(model, self.evaluated)
        for experiment in config["experiments"].values():
            for model in self.cells(experiment):
                self.add(model, self.evaluated if experiment["evaluate"] == "all" else model.target)

    # ---- configuration files

    @cache  # noqa: B019 - one grid a process
    def language(self, code: str) -> dict[str, Any]:
        """The content of config/languages/<code>.yaml."""
        return self.file("language", self.folder / "languages" / f"{code}.yaml", code)

    @cache  # noqa: B019
    def backbone(self, name: str) -> dict[str, Any]:
        """The content of config/backbones/<name>.yaml."""
        return self.file("backbone", self.folder / "backbones" / f"{name}.yaml", name)

    def file(self, kind: str, path: Path, name: str) -> dict[str, Any]:
        if not path.is_file():
            known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
            raise UserError(
                f"{self.source}: unknown {kind} {name!r}: there is no {path}. Known: {known}. Write that file, or mend the name."
            )
        content = read_yaml(path)
        validate(content, kind, str(path))
        return content

    # ---- which models there are

    def references(self) -> Iterator[Model]:
        """The reference models of every backbone, those that its file defines."""
        for name in self.config["backbones"]:
            models = self.backbone(name)["models"]
            for method in ("base", "instruct"):
                if method in models:
                    yield Model(name, method)
            for method in ("adapted", "joint"):
                if method in models:
                    yield from (
                        Model(name, method, (code,))
                        for code in self.languages
                        if code in models[method].get("languages", [code])
                    )

    def cells(self, experiment: dict[str, Any]) -> Iterator[Model]:
        """The cells of one experiment: its backbones x methods x (each language | all of them) x weights."""
        weights = experiment.get("weights") or {"each": self.config["weights"]}
        targets = {
            "each": [(code,) for code in self.languages],
            "multi": [tuple(sorted(self.languages))] if len(self.languages) > 1 else [],
        }
        for name in self.of_run(experiment.get("backbones")):
            for method in experiment["methods"]:
                for kind, values in weights.items():
                    for target in targets[kind]:
                        yield from (Model(name, method, target, float(weight)) for weight in values)

    def of_run(self, backbones: list[str] | None) -> list[str]:
        """Those of an experiment's or a table's backbones that the run has: `--config backbones=...` runs a part of a large grid."""
        return [name for name in self.config["backbones"] if backbones is None or name in backbones]

    def add(self, model: Model, languages: Iterable[str]) -> None:
        known = self.models.setdefault(model.id, model)
        if known != model:
            raise UserError(
                f"{self.source}: weights {known.weight!r} and {model.weight!r} of {model.id} differ only after six digits. Keep one."
            )
        wanted = {*self.languages_of.get(model.id, []), *languages}
        self.languages_of[model.id] = [code for code in self.evaluated if code in wanted]

    def check_methods(self) -> None:
        """Refuse methods that do not exist, whose parameters do not, or that a backbone cannot serve."""
        methods = self.config["methods"]
        for name, method in methods.items():
            where = f"{self.source}: methods.{name}"
            if name in REFERENCES:
                raise UserError(f"{where}: this name is taken by a reference model. Choose another.")
            if method["merge_method"] not in METHODS:
                raise UserError(
                    f"{where}.merge_method: unknown method {method['merge_method']!r}. Known: {', '.join(sorted(METHODS))}."
                )
        for name, experiment in self.config["experiments"].items():
            where = f"{self.source}: experiments.{name}"
            for backbone in experiment.get("backbones", []):
                self.backbone(backbone)
            for method in experiment["methods"]:
                if method not in methods:
                    raise UserError(
                        f"{where}.methods: unknown method {method!r}. Known: {', '.join(sorted(methods))}. Define it under `methods`."
                    )
            for model in self.cells(experiment):
                self.check_cell(model, where)

    def check_reference(self, model: Model) -> None:
        """Refuse a model without one source, a training recipe that train.py would refuse, and corpora of languages that have no file."""
        where = f"{self.folder}/backbones/{model.backbone}.yaml"
        given = [key for key in ("path", "hub", "train") if key in self.source_of(model)]
        if len(given) != 1:
            raise UserError(
                f"{where}: models.{model.method}: {' and '.join(given) or 'no source'} for {model.id}; expected one of path, hub and train."
            )
        if self.is_trained(model):
            if "init" in self.source_of(model)["train"] and "tokenizer" not in self.backbone(model.backbone):
                raise UserError(
                    f"{where}: models.{model.method}.train.init needs a `tokenizer` in this file, with its vocab_size and corpora."
                )
            complete(self.training(model), f"{where}: models.{model.method}.train")
            self.model_key(model)

    def check_cell(self, model: Model, where: str) -> None:
        method = METHODS[self.config["methods"][model.method]["merge_method"]]
        models = self.backbone(model.backbone)["models"]
        needed = ["instruct", "adapted", *([self.base_role(model)] if method.needs_base else [])]
        for role in needed:
            if role not in models:
                raise UserError(
                    f"{where}: {model.method} ({method.name}) needs the {role} model of {model.backbone}, and "
                    f"config/backbones/{model.backbone}.yaml has none. Add it there, or leave the method out for this backbone."
                )
        for code in model.target:
            if code not in models["adapted"].get("languages", self.languages):
                raise UserError(
                    f"{where}: {model.backbone} has no model adapted to {code!r} (config/backbones/{model.backbone}.yaml, "
                    f"models.adapted.languages). Name one there, or leave the language or the backbone out."
                )
        recipe = self.recipe(model)
        try:
            check_parameters(
                method, [entry.get("parameters", {}) for entry in recipe["models"]], recipe.get("parameters", {})
            )
        except UserError as error:
            raise UserError(f"{self.source}: methods.{model.method}, used by {model.id}: {error}") from error

    # ---- merging

    def base_role(self, model: Model) -> str:
        return self.config["methods"][model.method].get("base", "base")

    def recipe(self, model: Model) -> dict[str, Any]:
        """The merge's recipe in mergekit's YAML, as data.

        The instruct model has weight 1 and each language model w unless the method says otherwise (facts: what w_i means).
        """
        settings = self.config["methods"][model.method]
        method = METHODS[settings["merge_method"]]
        instruct = Model(model.backbone, "instruct")
        members = [
            ("instruct", instruct),
            *(("language", Model(model.backbone, "adapted", (code,))) for code in model.target),
        ]
        weights = {"instruct": settings.get("instruct_weight", 1.0), "language": settings.get("language_weight", "w")}
        given = {**({"weight": weights} if "weight" in method.per_model else {}), **settings.get("parameters", {})}

        def value(parameter: Any, role: str) -> Any:
            chosen = parameter[role] if isinstance(parameter, dict) else parameter
            if not isinstance(chosen, str):
                return chosen
            found = FORMULAS[chosen](model.weight, len(model.target))
            if found < 0:
                raise UserError(
                    f"{self.source}: methods.{model.method}: {chosen} is {found:g} for {model.id}, which leaves less than nothing of the other "
                    f"models. Use smaller weights, at most 1 / the number of languages."
                )
            return found

        recipe: dict[str, Any] = {
            "merge_method": method.name,
            "models": [
                {
                    "model": self.path(member),
                    "parameters": {
                        name: value(parameter, role) for name, parameter in given.items() if name in method.per_model
                    },
                }
                for role, member in members
            ],
            "parameters": {
                name: value(parameter, "language") for name, parameter in given.items() if name not in method.per_model
            },
            "dtype": "float32",
            "out_dtype": self.backbone(model.backbone)["dtype"],
            "tokenizer_source": self.path(instruct),
        }
        if method.needs_base:
            recipe["base_model"] = self.path(Model(model.backbone, self.base_role(model)))
        if "rows" in settings:
            recipe["rows"] = settings["rows"]
        if "special_tokens" in settings:
            recipe["special_tokens"] = self.path(Model(model.backbone, settings["special_tokens"]))
        return recipe

    def anatomy_base(self, backbone: str) -> str | None:
        """The path of the model that task vectors are taken from when merges are examined."""
        return self.path(Model(backbone, "base")) if "base" in self.backbone(backbone)["models"] else None

    def anatomy(self, model: Model) -> str:
        """The file that a merge is examined into."""
        return f"{self.root}/anatomy/{model.id}.parquet"

    def read_by(self, model: Model) -> list[Model]:
        """The models that are read to make this one: its parents and, for a merge's anatomy, the base."""
        examined = [Model(model.backbone, "base")] if model.is_merge and self.anatomy_base(model.backbone) else []
        return list(dict.fromkeys([*self.parents(model), *examined]))

    def anatomies(self) -> list[dict[str, Any]]:
        """For each merge: the file that it is examined into, its cell, and what its models are called in figures."""
        merges = [model for model in self.models.values() if model.is_merge]
        return [
            {
                "file": self.anatomy(model),
                **self.cell(model),
                "models": {
                    self.path(parent): "+".join(parent.target) or parent.method for parent in self.parents(model)
                },
            }
            for model in merges
        ]

    def parents(self, model: Model) -> list[Model]:
        """The models that this one is made from."""
        if model.is_merge:
            method = METHODS[self.config["methods"][model.method]["merge_method"]]
            base = [Model(model.backbone, self.base_role(model))] if method.needs_base else []
            members = [
                Model(model.backbone, "instruct"),
                *(Model(model.backbone, "adapted", (code,)) for code in model.target),
            ]
            return members + [other for other in base if other not in members]
        origin = self.source_of(model).get("train", {}).get("from")
        return [Model(model.backbone, origin)] if origin else []

    # ---- training

    @cache  # noqa: B019
    def source_of(self, model: Model) -> dict[str, Any]:
        """Where a reference model comes from: {path}, {hub, revision} or {train}; what the file says of a language goes before."""
        source = self.backbone(model.backbone)["models"][model.method]
        languages = source.get("languages", {})
        own = languages.get(model.target[0], {}) if model.target and isinstance(languages, dict) else {}
        filled = {**source, **own}
        for key in ("path", "hub"):
            if key in filled:
                filled[key] = filled[key].format(language="+".join(model.target))
        return filled

    def is_trained(self, model: Model) -> bool:
        return not model.is_merge and "train" in self.source_of(model)

    def training(self, model: Model) -> dict[str, Any]:
        """The recipe that scripts/train.py takes, with the paths of this run."""
        settings = dict(self.source_of(model)["train"])
        origin = settings.pop("from", None)
        data = {self.data(name, model): share for name, share in settings.pop("data").items()}
        start = (
            {"from": self.path(Model(model.backbone, origin))}
            if origin
            else {"tokenizer": str(self.tokenizer(model.backbone))}
        )
        return {**start, "data": data, "seed": self.config["seed"], **settings}

    def data(self, name: str, model: Model | None = None) -> str:
        """The file of a corpus: `eu/corpus`, or `{language}/corpus` of an adapted model, or the path of a file of one's own."""
        name = name.format(language=model.target[0] if model and model.target else "none")
        return name if name.endswith(OWN_FILES) else str(self.root / "data" / f"{name}.jsonl")

    def tokenizer(self, backbone: str) -> Path:
        return self.root / "models" / backbone / "tokenizer"

    def tokenizer_corpora(self, backbone: str) -> list[str]:
        """The files that the backbone's tokenizer is trained on: its own list, so that a new language does not change it."""
        return [self.data(name) for name in self.backbone(backbone)["tokenizer"]["corpora"]]

    # ---- paths

    def path(self, model: Model) -> str:
        """The model's folder: in this run, or where the backbone's file says that it lies."""
        source = {} if model.is_merge else self.source_of(model)
        if "hub" in source:
            return self.fetched("models", source)
        return source.get("path") or str(self.root / "models" / model.id)

    def fetched(self, kind: str, source: dict[str, Any]) -> str:
        """The folder that a repository of the hub is fetched into; kind is `models` or `datasets`."""
        return f"{self.config['cache']}/{kind}/{source['hub'].replace('/', '--')}@{source.get('revision', 'main')}"

    def result(self, model: Model, shard: str) -> str:
        return str(self.root / "scores" / model.id / f"{shard}.{self.fingerprint(model, shard)}.json")

    @cached_property
    def results(self) -> list[str]:
        """Every sealed result of the run."""
        return [self.result(model, shard) for model in self.models.values() for shard in self.shards(model)]

    # ---- evaluating

    def shards(self, model: Model) -> dict[str, list[dict[str, Any]]]:
        """The evaluation jobs of a model: {shard: its tasks}; a shard a language, or one named `all`."""
        by_language = {code: self.tasks(code) for code in self.languages_of[model.id]}
        if self.config["shards"] == "all":
            return {"all": [task for tasks in by_language.values() for task in tasks]}
        return {code: tasks for code, tasks in by_language.items() if tasks}

    @cache  # noqa: B019
    def tasks(self, language: str) -> list[dict[str, Any]]:
        """The run's tasks in one language: `{language}`, `{source}` and `{benchmark}` filled in."""
        return [
            {**task, **own, "language": language}
            for task in self.config["tasks"]
            if language in task.get("languages", [language])
            for own in self.expanded(task["task"], language)
        ]

    def expanded(self, name: str, language: str) -> Iterator[dict[str, Any]]:
        """What a language makes of a task's name: for each task that it stands for, its own name and what the language's file says of it."""
        settings = self.language(language)
        if name == "{benchmark}":
            yield from ({"task": task, **own} for task, own in settings.get("benchmarks", {}).items())
            return
        for source in settings["mt_sources"] if "{source}" in name else [""]:
            task = name.format(language=language, source=source)
            pair = {"source": source, "target": language} if task.startswith(FLORES) else {}
            flores = {"flores": {side: self.flores(code) for side, code in pair.items()}} if pair else {}
            # What the miniature's files hold is a part of the task, as a data set's revision is.
            data = {"data": self.data_key(language)} if task.startswith(MINIATURE) else {}
            yield {"task": task, **flores, **data, **(self.safety(task) if task.startswith(SAFETY) else {})}

    def flores(self, language: str) -> dict[str, str]:
        """A language's code in FLORES, and its English name, which the prompts spell out."""
        settings = self.language(language)
        if "flores" not in settings:
            raise UserError(
                f"{self.folder}/languages/{language}.yaml: a translation task of FLORES needs the key `flores`, such as eus_Latn. Add it."
            )
        return {"code": settings["flores"], "name": settings["name"]}

    def safety(self, task: str) -> dict[str, Any]:
        """The prompts of a safety task and who judges its answers (docs/safety.md)."""
        entry = self.benchmark(task)
        if "prompts" not in entry:
            raise UserError(
                f"{self.folder}/benchmarks.yaml: {task} needs `prompts: {{split: ..., column: ...}}`, which rows of its data set it asks."
            )
        if "judge" not in self.config:
            raise UserError(
                f"{self.source}: {task} needs a judge of its answers. Add `judge: {{kind: ...}}`, see docs/safety.md."
            )
        return {"prompts": {"dataset": entry["dataset"], **entry["prompts"]}, "judge": self.config["judge"]}

    # ---- what the hub provides

    @cached_property
    def benchmarks(self) -> dict[str, dict[str, Any]]:
        """The content of config/benchmarks.yaml: for each real task the data set that it reads."""
        path = self.folder / "benchmarks.yaml"
        content = read_yaml(path) if path.is_file() else {}
        validate(content, "benchmarks", str(path))
        return content

    def benchmark(self, task: str) -> dict[str, Any] | None:
        """What config/benchmarks.yaml says of a task; None for a task of the miniature world.

        Raises:
            UserError: it says nothing.
        """
        if task.startswith(MINIATURE):
            return None
        name = FLORES.rstrip("_") if task.startswith(FLORES) else task
        if name not in self.benchmarks:
            raise UserError(
                f"{self.source}: tasks: {task!r} is unknown: it is no task of the miniature world (mini_...), and {self.folder}/benchmarks.yaml "
                f"does not say which data set it reads. Mend the name, or add it there."
            )
        return self.benchmarks[name]

    def datasets(self, tasks: Iterable[dict[str, Any]]) -> dict[str, str]:
        """The data sets of some tasks: name on the hub -> folder that it is fetched into."""
        entries = filter(None, (self.benchmark(task["task"]) for task in tasks))
        return {entry["dataset"]: self.fetched("datasets", {"hub": entry["dataset"], **entry}) for entry in entries}

    @cached_property
    def repositories(self) -> list[dict[str, Any]]:
        """Everything of the run that a hub provides: {kind, hub, revision, folder, files, gb}, each once, models first.

        `files` are patterns of a data set's files that are needed, none for all; `gb` is the size that the configuration gives, or None.
        """
        models = {self.path(model): self.source_of(model) for model in self.models.values() if not model.is_merge}
        wanted = [("models", source) for source in models.values() if "hub" in source]
        entries = (self.benchmark(task["task"]) for code in self.evaluated for task in self.tasks(code))
        wanted += [("datasets", {"hub": entry["dataset"], **entry}) for entry in entries if entry]
        found = {}
        for kind, source in wanted:
            folder, hub, revision = self.fetched(kind, source), source["hub"], source.get("revision", "main")
            known = found.setdefault(
                folder, {"kind": kind, "hub": hub, "revision": revision, "folder": folder, "gb": None}
            )
            known["gb"] = known["gb"] or source.get("gb")
            known["files"] = self.files(hub, revision) if kind == "datasets" else []
        return list(found.values())

    def files(self, dataset: str, revision: str) -> list[str]:
        """Patterns of the files that the catalogue's tasks read of a data set, none for all.

        Also those of tasks that are not of this run: runs share the cache, and what is in a folder must not depend on who came first.
        """
        entries = [
            entry
            for entry in self.benchmarks.values()
            if entry["dataset"] == dataset and entry.get("revision", "main") == revision
        ]
        return (
            sorted({pattern for entry in entries for pattern in entry["files"]})
            if all("files" in entry for entry in entries)
            else []
        )

    @cached_property
    def unpinned(self) -> list[str]:
        """Names on the hub without a revision: what they are may change from one day to the next."""
        return [repository["hub"] for repository in self.repositories if repository["revision"] == "main"]

    def task_folders(self, model: Model, shard: str) -> list[str]:
        """The folders of the miniature world's tasks that a shard needs."""
        tasks = self.shards(model)[shard]
        codes = dict.fromkeys(task["language"] for task in tasks if self.benchmark(task["task"]) is None)
        return [f"{self.root}/data/{code}/tasks" for code in codes]

    def cell(self, model: Model) -> dict[str, Any]:
        """The columns of scores.csv that say which model a number belongs to."""
        return {
            "backbone": model.backbone,
            "method": model.method,
            "target": "+".join(model.target),
            "weight": model.weight,
        }

    def chat_template(self, model: Model) -> bool:
        """Instructed models are evaluated through their chat template, base models are not (the papers' setting)."""
        return model.method not in ("base", "adapted")

    @cache  # noqa: B019
    def fingerprint(self, model: Model, shard: str) -> str:
        """Twelve hex digits of a hash of all that determines a shard's result."""
        tasks = self.shards(model)[shard]
        return digest(
            {
                "evaluate": SEMANTICS["evaluate"],
                "model": self.model_key(model),
                "tasks": tasks,
                "datasets": [Path(folder).name for folder in self.datasets(tasks).values()],
                "chat": self.chat_template(model),
                "backend": answering(self.backbone(model.backbone).get("backend", {})),
            }
        )

    @cache  # noqa: B019
    def model_key(self, model: Model) -> str:
        """Hash of all that determines a model's weights: its recipe and, in place of paths, its parents' keys."""
        if model.is_merge:
            names = {self.path(parent): self.model_key(parent) for parent in self.parents(model)}
            recipe = json.loads(
                json.dumps(self.recipe(model)),
                object_hook=lambda part: {k: names.get(v, v) if isinstance(v, str) else v for k, v in part.items()},
            )
            return digest({"merge": SEMANTICS["merge"], "recipe": recipe, "seed": self.config["seed"]})
        source = self.source_of(model)
        if "hub" in source:
            return digest({"hub": source["hub"], "revision": source.get("revision", "main")})
        if "path" in source:
            return digest({"path": source["path"], "revision": source.get("revision")})
        settings = dict(source["train"])
        corpora = {name.format(language="".join(model.target)): share for name, share in settings.pop("data").items()}
        return digest(
            {
                "train": SEMANTICS["train"],
                "settings": settings,
                "seed": self.config["seed"],
                "data": {name: [share, self.corpus_key(name)] for name, share in corpora.items()},
                "parents": [self.model_key(parent) for parent in self.parents(model)],
                "tokenizer": [self.backbone(model.backbone).get("tokenizer")],
            }
        )

    def corpus_key(self, name: str) -> str:
        """Identity of a training corpus: of the language's generated data, or the path of a file of one's own."""
        return name if name.endswith(OWN_FILES) else self.data_key(name.split("/")[0])

    @cache  # noqa: B019
    def data_key(self, language: str) -> str:
        """Hash of what determines a language's generated data."""
        return digest({"corpus": SEMANTICS["corpus"], **self.corpus(language)})

    def corpus(self, language: str) -> dict[str, Any]:
        """What a language's generated data depends on: its file, those of the languages it is translated from, the world's sizes."""
        sources = [*self.language(language)["mt_sources"], *filter(None, [self.config["world"].get("partner")])]
        return {
            "languages": {
                code: {key: self.language(code)[key] for key in ("name", "locale", "mt_sources")}
                for code in [language, *sources]
            },
            **self.config["world"],
            "seed": self.config["seed"],
        }

    # ---- jobs, tables and figures

    def resources(self, rule: str, backbone: str) -> dict[str, Any]:
        """What a job of a rule asks for. A merge asks for what its evaluations need, if that is more (rules/merge.smk); but for the time."""
        given = self.backbone(backbone).get("resources", {})
        if rule != "merge":
            return given.get(rule, {})
        merge, evaluate = (
            given.get("merge", {}),
            {name: value for name, value in given.get("evaluate", {}).items() if name != "runtime"},
        )
        return {
            name: max(asked[name] for asked in (merge, evaluate) if name in asked) for name in {**merge, **evaluate}
        }

    def labels(self) -> dict[str, dict[str, str]]:
        """How backbones and methods are called in tables and figures."""
        return {
            "backbones": {name: self.backbone(name).get("label", name) for name in self.config["backbones"]},
            "methods": {name: method.get("label", name) for name, method in self.config["methods"].items()},
        }

    def table(self, name: str) -> dict[str, Any]:
        """What scripts/table.py is told about a table."""
        settings = {key: value for key, value in self.config["tables"][name].items() if key != "layout"}
        languages = {
            "languages": self.languages,
            "evaluation_languages": [code for code in self.evaluated if code not in self.languages],
        }
        shown = {
            key: self.of_run(settings.get(key))
            for key in ("backbones", "baselines")
            if key in settings or key == "backbones"
        }
        return {"labels": self.labels(), **languages, **settings, **shown}

    def tables(self, *layouts: str) -> list[str]:
        """The names of the run's tables in these layouts, of those that show a backbone of the run."""
        tables = self.config["tables"].items()
        return [
            name
            for name, settings in tables
            if settings["layout"] in layouts and self.of_run(settings.get("backbones"))
        ]

    @property
    def figures(self) -> list[str]:
        """The names of the run's figures, of those that show a backbone of the run."""
        return [
            name
            for name, settings in self.config["figures"].items()
            if "backbone" not in settings or self.of_run([settings["backbone"]])
        ]

    def figure(self, name: str) -> dict[str, Any]:
        """What scripts/plot.py is told about a figure."""
        return {
            "backbone": self.config["backbones"][0],
            "labels": self.labels(),
            "languages": self.languages,
            **{key: value for key, value in self.config["figures"][name].items() if key != "layout"},
        }

    def answers(self) -> Iterator[dict[str, str]]:
        """For each sealed result the folder that holds the answers behind it."""
        for model in self.models.values():
            for shard in self.shards(model):
                yield {"result": self.result(model, shard), "samples": f"{self.root}/samples/{model.id}"}

    def published(self) -> list[str]:
        """The files of the published numbers that the run is set beside; none if it names no paper.

        Raises:
            UserError: there are no such numbers.
        """
        if "published" not in self.config:
            return []
        folder = self.folder / "published" / self.config["published"]
        if not folder.is_dir():
            known = ", ".join(sorted(other.name for other in folder.parent.iterdir()))
            raise UserError(
                f"{self.source}: published: there is no folder {folder}. Known: {known}. Mend the name, or leave the key out."
            )
        return sorted(map(str, folder.iterdir()))


def read_run(text: str, folder: Path) -> Grid:
    """The run that a command's argument names: its configuration's file, or YAML text; `folder` has languages/ and backbones/."""
    is_text = "\n" in text or text.lstrip().startswith("{")
    return Grid(yaml_argument(text), folder, "the run's configuration" if is_text else text)


def normalised(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with defaults filled in and lists given on the command line (`--config languages=eu,gl`) split."""
    config = {
        "results": "results",
        "cache": "results/cache",
        "seed": 1,
        "evaluation_languages": [],
        "weights": [],
        "live_merges": 4,
        "shards": "language",
        "world": {},
        "tables": {},
        "figures": {},
        **config,
    }
    for key in ("languages", "evaluation_languages", "backbones", "weights"):
        if isinstance(config.get(key), str | int | float):
            config[key] = [
                yaml.safe_load(item) if key == "weights" else item.strip() for item in str(config[key]).split(",")
            ]
    config["experiments"] = {
        name: {"evaluate": "all", **experiment} if isinstance(experiment, dict) else experiment
        for name, experiment in (config.get("experiments") or {}).items()
    }
    return config


def read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}") from error


def validate(content: Any, schema: str, source: str) -> None:
    """Check against workflow/schemas/<schema>.schema.yaml.

    Raises:
        UserError: naming the file, the key, what was found and what was expected.
    """
    validator = jsonschema.Draft202012Validator(read_yaml(SCHEMAS / f"{schema}.schema.yaml"))
    error = jsonschema.exceptions.best_match(validator.iter_errors(content))
    if error is not None:
        key = ".".join(map(str, error.absolute_path)) or "(top level)"
        hint = error.schema.get("description", "")
        raise UserError(
            f"{source}: {key}: {error.message}.{' Expected: ' + hint if hint else ''} See config/README.md."
        )
    for weights, key in weight_lists(content) if schema == "run" else ():
        if any(not math.isfinite(weight) or weight < 0 for weight in weights):
            raise UserError(
                f"{source}: {key}: {weights} holds a weight that is negative or not finite. Weights are numbers >= 0."
            )
        if len({float(weight) for weight in weights}) < len(weights):
            raise UserError(f"{source}: {key}: {weights} names a weight twice. Keep one of each.")


def weight_lists(config: dict[str, Any]) -> Iterator[tuple[list[float], str]]:
    yield config["weights"], "weights"
    for name, experiment in config["experiments"].items():
        for kind, weights in (experiment.get("weights") or {}).items():
            yield weights, f"experiments.{name}.weights.{kind}"


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
