"""What models are evaluated on: the run's tasks in each language, and the shards that evaluation
jobs take them in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.evaluation.groups import expanded
from langmerge.evaluation.modelfiles import judge_content
from langmerge.evaluation.settings import completed, merged
from langmerge.evaluation.taskfiles import SHIPPED, content_key, find, metrics_of
from langmerge.evaluation.units import Unit, units
from langmerge.faults import nearest
from langmerge.grid.config import Config
from langmerge.grid.data import GeneratedData
from langmerge.grid.layout import Layout
from langmerge.grid.models import Models
from langmerge.measures import TRANSLATION
from langmerge.model import Model

MINIATURE, FLORES, SAFETY = "mini_", "flores_", "safety_"
"""How the names of tasks begin: the miniature world's, those that translate FLORES, those that a
judge reads.
"""

BENCHMARK = "{benchmark}"
"""What stands for each benchmark of a language."""

PLAIN = ("base", "adapted")
"""Models that are asked in plain text; the others are instructed, and are asked through their chat
template, as in the papers.
"""

MERGES = "merges"
ASKED = ("base", "instruct", "adapted", "joint", MERGES)
"""The kinds of models that a task's `models` may name."""

GRID_ONLY = ("models", "languages", "fidelity")
"""Keys of a task that say who is asked, and what is made of the answers, but not how it is asked:
they are no part of its entry.
"""


MINIATURE_TASKS = {
    "mini_vocabulary_{language}": "mini_multiple_choice.yaml",
    "mini_calendar_{language}": "mini_multiple_choice.yaml",
    "mini_grammar_{language}": "mini_multiple_choice.yaml",
    "mini_translation_{source}_{language}": "mini_translation.yaml",
    "mini_ifeval_{language}": "mini_ifeval.yaml",
}
"""The miniature's tasks, and the shipped file that each is based on."""


def miniature_base(name: str, language: str, sources: Iterable[str]) -> str | None:
    """The shipped file that a task of the miniature is based on; None if it has no such task in the
    language, which is translated from `sources`.
    """
    for task, base in MINIATURE_TASKS.items():
        filled = task.replace("{language}", language)
        if name in ({filled.replace("{source}", source) for source in sources} if "{source}" in task else {filled}):
            return base
    return None


def kind(model: Model) -> str:
    """Which of ASKED a model is."""
    return MERGES if model.is_merge else model.method


class Tasks:
    """The tasks of a run.

    Attributes:
        families: for each task's name what the run's configuration calls it: `ifeval_{language}`,
            or its own name where that is `{benchmark}`.
    """

    def __init__(self, config: Config, data: GeneratedData, models: Models, layout: Layout) -> None:
        self.config = config
        self.data = data
        self.models = models
        self.layout = layout
        self.families: dict[str, str] = {}
        self.of = cache(self._of)
        self.asked = cache(self._asked)
        self.fingerprints = cache(self._fingerprints)

    def _of(self, language: str) -> list[dict[str, Any]]:
        """The run's tasks in one language: `{language}`, `{source}` and `{benchmark}` filled in,
        with the settings of the run and of the language, and without those of backbones.

        Raises:
            UserError: a task is in no catalogue, or a file that it reads is missing.
        """
        found = []
        for task in self.config.run["tasks"]:
            if language not in task.get("languages", [language]):
                continue
            for own in self.named(task["task"], language):
                name = own["task"]
                self.families[name] = name if task["task"] == BENCHMARK else task["task"]
                entry = {**merged(task, own), **self.content(name), "language": language}
                found.append(with_settings(entry, self.config.run["task_settings"]))
        return found

    def _asked(self, backbone: str, kind: str, language: str) -> list[dict[str, Any]]:
        """The entries of the tasks that one kind of a backbone's models is asked in a language:
        complete, with the backbone's own settings, and one for each member of a group.

        Raises:
            UserError: settings that do not fit together; see also `of`.
        """
        own = self.config.backbone(backbone).get("tasks", {})
        entries = [with_settings(task, own) for task in self.of(language) if kind in task.get("models", ASKED)]
        try:
            complete = [completed({key: task[key] for key in task if key not in GRID_ONLY}) for task in entries]
        except UserError as error:
            file = self.config.where("backbone", backbone)
            raise UserError(f"{self.config.at(['tasks'])}, with `tasks` of {file}: {error}") from None
        return [entry for task in complete for entry in expanded(task, [*self.own_folders, SHIPPED])]

    def named(self, name: str, language: str) -> Iterator[dict[str, Any]]:
        """The tasks that a name stands for in a language, each with its own name and settings."""
        settings = self.config.language(language)
        if name == BENCHMARK:
            yield from ({"task": task, **own} for task, own in settings.get("benchmarks", {}).items())
            return
        for source in settings["mt_sources"] if "{source}" in name else [""]:
            task = name.replace("{language}", language).replace("{source}", source)
            pair = {"source": source, "target": language} if task.startswith(FLORES) else {}
            flores = {"flores": {side: self.flores(code) for side, code in pair.items()}} if pair else {}
            # What the generated files hold is part of the task, as a data set's revision is.
            data = {"data": self.data.key(language)} if task.startswith(MINIATURE) else {}
            yield {"task": task, **flores, **data, **(self.safety(task) if task.startswith(SAFETY) else {})}

    def flores(self, language: str) -> dict[str, str]:
        """A language's code in FLORES, and its English name, which the prompts spell out."""
        settings = self.config.language(language)
        if "flores" not in settings:
            raise UserError(
                f"{self.config.where('language', language)}: a translation task of FLORES needs the key `flores`, such as eus_Latn. Add it."
            )
        return {"code": settings["flores"], "name": settings["name"]}

    def safety(self, task: str) -> dict[str, Any]:
        """The prompts of a safety task and who judges its answers (docs/safety.md)."""
        entry = self.entry(task)
        if "prompts" not in entry:
            raise UserError(
                f"config/benchmarks.yaml: {task} needs `prompts: {{split: ..., column: ...}}`: which rows of its data set it asks."
            )
        if "judge" not in self.config.run:
            raise UserError(
                f"{self.config.source}: {task} needs a judge of its answers. Add `judge: {{kind: ...}}`, see docs/safety.md."
            )
        judge = self.config.run["judge"]
        return {"prompts": {"dataset": entry["dataset"], **entry["prompts"]}, "judge": judge, **judge_content(judge)}

    def named_families(self) -> dict[str, str]:
        """`families`, of all tasks of the run."""
        for code in self.config.evaluated:
            self.of(code)
        return self.families

    @property
    def other_language(self) -> set[str]:
        """Tasks that do not count for language fidelity: they do not ask for an answer in their
        language.
        """
        entries = (task for code in self.config.evaluated for task in self.of(code))
        return {task["task"] for task in entries if not task.get("fidelity", True)}

    # ---- what tasks read

    def catalogued(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What benchmarks.yaml says of an entry's task, or of the group that it is a member of."""
        return self.entry(entry.get("group", entry["task"])) or {}

    def entry(self, task: str) -> dict[str, Any] | None:
        """What benchmarks.yaml says of a task: {dataset, ...} or {path}; None for a task of the
        miniature world.

        Raises:
            UserError: it says nothing.
        """
        if task.startswith(MINIATURE):
            return None
        name = self.catalogue_name(task)
        if name not in self.config.benchmarks:
            raise UserError(f"{self.config.at(['tasks'])}: {self.unknown(task)}")
        return self.config.benchmarks[name]

    def catalogue_name(self, task: str) -> str:
        """What benchmarks.yaml calls a task: all translations of FLORES have one entry."""
        return FLORES.rstrip("_") if task.startswith(FLORES) else task

    def unknown(self, task: str) -> str:
        """What a message says of a task that no catalogue knows."""
        return (
            f"{task!r} is unknown: it is no task of the miniature world (mini_...), and config/benchmarks.yaml does not say what it "
            f"reads.{nearest(task, self.config.benchmarks)} For a task of your own, write tasks/{task}.yaml, put its data into data/, and "
            f"add `{task}: {{path: tasks/{task}.yaml}}` to config/benchmarks.yaml; for one of lm-eval, `{task}: {{dataset: "
            "organisation/name}`."
        )

    def metrics(self, task: str) -> list[str]:
        """The metrics of a task that is not lm-eval's own, as far as its file names them."""
        if task.startswith(FLORES):
            return metrics_of(SHIPPED / "flores.yaml")
        found = None if task.startswith(SAFETY) else find(task, [*self.own_folders, SHIPPED])
        return metrics_of(found.path) if found else []

    def content(self, task: str) -> dict[str, str]:
        """The key `content` of a task's entry: a hash of the files that define it, unless they are
        lm-eval's own.
        """
        entry = self.entry(task)
        if entry is None:
            return {}
        if "path" in entry and not Path(entry["path"]).is_file():
            raise UserError(
                f"config/benchmarks.yaml: {task}: path: {entry['path']}: no such file. Write it, or correct the path; it starts at the "
                "folder in which you call the command."
            )
        found = content_key(task, [*self.own_folders, SHIPPED])
        if "path" in entry and found is None:
            raise UserError(
                f"{entry['path']} does not define {task!r}: write `task: {task}` into it, or correct config/benchmarks.yaml."
            )
        return {"content": found} if found else {}

    @cached_property
    def own_folders(self) -> list[Path]:
        """The folders of the user's own task files, each once. Their tasks go before others of the
        same name.
        """
        entries = self.config.benchmarks.values()
        return list(dict.fromkeys(Path(entry["path"]).parent for entry in entries if "path" in entry))

    def datasets(self, tasks: Iterable[dict[str, Any]]) -> dict[str, Path]:
        """The data sets that some tasks read: name on the hub -> the folder that it is fetched
        into.
        """
        entries = map(self.catalogued, tasks)
        return {
            entry["dataset"]: self.layout.fetched("datasets", entry["dataset"], entry.get("revision", "main"))
            for entry in entries
            if "dataset" in entry
        }

    def references(self, language: str) -> list[Path]:
        """The files of natural text in a language that the run has: the references of its
        translation tasks. Without their ending, because data sets change theirs.
        """
        found: dict[Path, None] = {}
        for task in self.of(language):
            if "flores" in task:
                (folder,) = self.datasets([task]).values()
                found[folder / "devtest" / task["flores"]["target"]["code"]] = None
            elif task["task"].startswith(MINIATURE) and task["measure"] == TRANSLATION:
                found[self.layout.corpus(language)["tasks"] / f"{task['task']}.test"] = None
        return [*found]

    def generated(self, tasks: Iterable[dict[str, Any]]) -> list[Path]:
        """The folders of the miniature world's tasks among some tasks."""
        codes = dict.fromkeys(task["language"] for task in tasks if task["task"].startswith(MINIATURE))
        return [self.layout.corpus(code)["tasks"] for code in codes]

    def include(self, tasks: Iterable[dict[str, Any]]) -> list[Path]:
        """The folders with YAML files that are not lm-eval's, for `langmerge evaluate --include`."""
        return [*self.generated(tasks), *self.own_folders]

    @property
    def evaluated(self) -> list[dict[str, Any]]:
        """The entries of all tasks of the run, one for each member of a group. How a backbone's
        models are asked is not in them.
        """
        tasks = [task for code in self.config.evaluated for task in self.of(code)]
        entries = [{key: task[key] for key in task if key not in GRID_ONLY} for task in tasks]
        return [entry for task in entries for entry in expanded(task, [*self.own_folders, SHIPPED])]

    # ---- evaluation jobs

    def shards(self, model: Model) -> dict[str, tuple[str, ...]]:
        """A model's evaluation jobs: {shard: its languages}; one shard per language, or one named
        `all`.
        """
        languages = self.models.languages[model.id]
        asked = tuple(code for code in languages if self.asked(model.backbone, kind(model), code))
        if self.config.run["shards"] == "all":
            return {"all": asked} if asked else {}
        return {code: (code,) for code in asked}

    def of_shard(self, model: Model, shard: str) -> list[dict[str, Any]]:
        """The tasks of one evaluation job."""
        return [task for code in self.shards(model)[shard] for task in self.asked(model.backbone, kind(model), code)]

    def units(self, model: Model, shard: str) -> list[Unit]:
        """What an evaluation job consists of: a unit for each task and seed."""
        return list(units(self.of_shard(model, shard), self.folders_of))

    def _fingerprints(self, backbone: str, kind: str, languages: tuple[str, ...]) -> list[str]:
        """The fingerprints of a shard's units, which are the same for all models of a backbone and
        kind.
        """
        tasks = [task for code in languages for task in self.asked(backbone, kind, code)]
        backend = self.config.backbone(backbone).get("backend", {})
        return [unit.fingerprint(backend) for unit in units(tasks, self.folders_of)]

    def folders_of(self, entry: dict[str, Any]) -> list[str]:
        """Names of the folders of the fetched data sets that a task reads."""
        return sorted(folder.name for folder in self.datasets([entry]).values())

    def chat_template(self, model: Model) -> bool:
        """Whether a model is asked through its chat template."""
        return model.method not in PLAIN

    def backend(self, model: Model) -> dict[str, Any]:
        """The settings of the backend that a model is loaded into."""
        return self.config.backbone(model.backbone).get("backend", {})


def with_settings(entry: dict[str, Any], settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A task's entry with those settings whose name or pattern fits the task, in their order."""
    for pattern, own in settings.items():
        if fnmatchcase(entry["task"], pattern):
            entry = merged(entry, own)
    return entry
