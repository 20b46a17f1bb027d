"""What is refused before any job, because it is known without the data: methods, tasks, models and
experiments that do not hold together. Each check notes all mistakes that it finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError, localedata

from langmerge.evaluation.settings import check_backend
from langmerge.evaluation.taskfiles import BASES, metrics_of
from langmerge.faults import Faults, nearest
from langmerge.grid.config import Config
from langmerge.grid.layout import CORPUS_FILES, is_corpus
from langmerge.grid.tasks import ASKED, BENCHMARK, FLORES, MINIATURE, MINIATURE_TASKS, Tasks, miniature_base
from langmerge.grid.variables import variable_faults
from langmerge.measures import MEASURES, VOTES
from langmerge.merging.methods import METHODS
from langmerge.model import EXTRA, REFERENCES
from langmerge.reporting.options import NAME


def check_methods(config: Config) -> Faults:
    """Note methods that do not exist, and experiments that name methods which are not defined."""
    faults, methods = Faults(), config.run["methods"]
    for name, method in methods.items():
        faults.add(*variable_faults(method, ["methods", name], config.at))
        if name in REFERENCES:
            faults.add(f"{config.at(['methods', name])}: this name is taken by a reference model. Choose another.")
        if method["merge_method"] not in METHODS:
            faults.add(
                f"{config.at(['methods', name, 'merge_method'])}: unknown method {method['merge_method']!r}."
                f"{nearest(method['merge_method'], METHODS)} Known: {', '.join(sorted(METHODS))}."
            )
        elif "weight" not in METHODS[method["merge_method"]].per_model:
            for key in {"instruct_weight", "language_weight", EXTRA} & {*method}:
                faults.add(
                    f"{config.at(['methods', name, key])}: {method['merge_method']} has no weights of models. Leave the key out."
                )
    for name, experiment in config.run["experiments"].items():
        for backbone in experiment.get("backbones", []):
            with faults.kept():
                config.backbone(backbone)
        for index, method in enumerate(experiment["methods"]):
            faults.add(*unknown_method(config, method, ["experiments", name, "methods", index]))
    return faults


def unknown_method(config: Config, name: str, key: list[str | int]) -> Iterator[str]:
    """What is wrong if the run does not define a method that it names somewhere."""
    methods = config.methods
    if name not in methods:
        yield (
            f"{config.at(key)}: unknown method {name!r}.{nearest(name, methods)} Known: {', '.join(sorted(methods))}. Define it under "
            "`methods`."
        )


def check_folders(config: Config) -> Faults:
    """Note folders of the run that are files, or in one."""
    faults = Faults()
    for key in ("results", "cache"):
        path = Path(config.run[key]).absolute()
        for part in [path, *path.parents]:
            if part.exists() and not part.is_dir():
                faults.add(f"{config.at([key])}: {part} is a file. Name a folder.")
    return faults


def check_languages(config: Config) -> Faults:
    """Note locales that CLDR does not have, and languages without a file that others are translated
    from.
    """
    faults = Faults()
    for code in config.evaluated:
        for source in config.language(code)["mt_sources"]:
            if config.folders.find(f"languages/{source}.yaml") is None:
                known = config.folders.names("languages")
                faults.add(
                    f"{config.place('language', code, 'mt_sources')}: there is no file languages/{source}.yaml.{nearest(source, known)}"
                    f" Known: {', '.join(known)}."
                )
        locale = config.language(code)["locale"]
        try:
            Locale.parse(locale)
        except (UnknownLocaleError, ValueError, TypeError):
            faults.add(
                f"{config.place('language', code, 'locale')}: {locale!r} is not a CLDR locale that babel has."
                f"{nearest(locale, localedata.locale_identifiers())}"
            )
    return faults


def check_backbones(config: Config) -> Faults:
    """Note settings that a backbone's backend does not have, and what its models' sources cannot
    mean.
    """
    faults = Faults()
    for name in config.backbones:
        content = config.backbone(name)
        with faults.kept():
            check_backend(content.get("backend", {}), lambda key, name=name: config.place("backbone", name, *key))
        corpora = [(("tokenizer", "corpora"), corpus) for corpus in content.get("tokenizer", {}).get("corpora", [])]
        for method, source in sources_of(content["models"]):
            own = source.get("languages")
            entries = [(("models", *method), source)]
            entries += (
                [(("models", *method, "languages", code), each) for code, each in own.items()]
                if isinstance(own, dict)
                else []
            )
            for key, entry in entries:
                known = {"language"} if method[0] in ("adapted", "joint") else set()
                for field in ("path", "hub", "model"):
                    faults.add(
                        *unknown_braces(entry.get(field, ""), known, config.place("backbone", name, *key, field))
                    )
                recipe = entry.get("train", {})
                texts = [(("data", text), text) for text in recipe.get("data", {})]
                texts += [(("held_out", code), text) for code, text in recipe.get("held_out", {}).items()]
                known = set() if method[0] == EXTRA else {"language"}
                for inner, text in texts:
                    corpora.append(((*key, "train", *inner), text))
                    faults.add(*unknown_braces(text, known, config.place("backbone", name, *corpora[-1][0])))
        for key, corpus in corpora:
            named = ", the name of a file in config/corpora" if key[0] == "models" else ""
            if (
                not corpus.endswith(CORPUS_FILES)
                and not is_generated(config, corpus)
                and not (named and is_corpus(corpus) and is_name(corpus.replace("{language}", "xx")))
            ):
                faults.add(
                    f"{config.place('backbone', name, *key)}: {corpus!r} is no training text. Expected <language>/corpus, "
                    f"<language>/instructions{named}, or a file that ends with {' or '.join(CORPUS_FILES)}."
                )
    return faults


def sources_of(models: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The reference models of a backbone's file: (keys, entry) of each."""
    for method, source in models.items():
        if method == EXTRA:
            yield from (((EXTRA, name), own) for name, own in source.items())
        else:
            yield (method,), source


def is_name(text: str) -> bool:
    """Whether a text can be the name of a file of the configuration."""
    return len(text) <= NAME["maxLength"] and re.fullmatch(NAME["pattern"], text) is not None


def is_generated(config: Config, name: str) -> bool:
    """Whether a name is that of a text of the miniature world."""
    language, _, kind = name.partition("/")
    is_language = language == "{language}" or config.folders.find(f"languages/{language}.yaml") is not None
    return is_language and kind in ("corpus", "instructions")


def unknown_braces(text: str, known: Collection[str], place: str) -> Iterator[str]:
    """What is wrong if a text holds a word in braces that is not filled in."""
    for word in re.findall(r"\{(.*?)\}", text):
        if word not in known:
            filled = " and ".join(f"{{{name}}}" for name in sorted(known)) or "nothing in braces"
            yield f"{place}: {{{word}}} in {text!r} is not filled in; {filled} is.{nearest(word, known)}"


def check_tasks(config: Config, tasks: Tasks) -> Faults:
    """Note tasks that no catalogue knows, own tasks whose files are missing, metrics that a task
    does not have, and settings that do not fit together or are for no task.
    """
    faults = Faults()
    for index, task in enumerate(config.run["tasks"]):
        key = ["tasks", index]
        name = task["task"]
        known = {"language", "source", *(["benchmark"] if name == BENCHMARK else [])}
        faults.add(*unknown_braces(name, known, config.at([*key, "task"])))
        for code in config.evaluated:
            if code in task.get("languages", [code]):
                with faults.kept():
                    faults.add(*task_faults(config, tasks, key, task, code))
    faults.refuse()
    faults.add(*check_settings(config, config.run["task_settings"], lambda name: config.at(["task_settings", name])))
    for name in config.backbones:
        content = config.backbone(name)
        faults.add(*check_settings(config, content.get("tasks", {}), partial(config.place, "backbone", name, "tasks")))
        hours = content.get("hours", {}).get("evaluate")
        if isinstance(hours, dict):
            shards = [*config.evaluated, "all"]
            of_tasks = [
                pattern
                for pattern in hours
                if pattern not in shards and not config.folders.find(f"languages/{pattern}.yaml")
            ]
            faults.add(*check_settings(config, of_tasks, partial(config.place, "backbone", name, "hours", "evaluate")))
        for code in config.evaluated:
            for kind in ASKED:
                with faults.kept():
                    tasks.asked(name, kind, code)
    return faults


def task_faults(config: Config, tasks: Tasks, key: list[str | int], task: dict[str, Any], code: str) -> Iterator[str]:
    """What is wrong with the tasks that an entry of the run stands for in a language."""
    for own in tasks.named(task["task"], code):
        name, place = own["task"], config.at([*key, "task"])
        if task["task"] == BENCHMARK:
            place = config.place("language", code, "benchmarks", name)
        made = MINIATURE_TASKS if name.startswith(MINIATURE) else config.benchmarks
        if name.startswith(MINIATURE):
            base = miniature_base(name, code, config.language(code)["mt_sources"])
            if base is None:
                known = ", ".join(made)
                yield f"{place}: the miniature has no task {name!r}.{nearest(task['task'], made)} Known: {known}."
                continue
            metrics = metrics_of(BASES / base)
        else:
            if tasks.catalogue_name(name) not in config.benchmarks:
                yield f"{place}: {tasks.unknown(name)}"
                continue
            tasks.content(name)
            metrics = tasks.metrics(name)
        metric = {**task, **own}["metric"]
        if metrics and metric.split(",")[0] not in metrics:
            at = place if "metric" in own else config.at([*key, "metric"])
            yield f"{at}: {name} has no metric {metric!r}.{nearest(metric, metrics)} It has {', '.join(metrics)}."


def check_settings(config: Config, settings: Iterable[str], at: Callable[[str], str]) -> Iterator[str]:
    """Note settings whose name or pattern fits no task that there is: probably a slip."""
    for pattern in settings:
        given = pattern.rstrip("*")
        made = any(given.startswith(prefix) or prefix.startswith(given) for prefix in (MINIATURE, FLORES))
        if not made and not any(fnmatchcase(task, pattern) for task in config.benchmarks):
            yield (
                f"{at(pattern)}: no task is called {pattern!r}: it is neither in config/benchmarks.yaml nor a task of the miniature world "
                f"(mini_...) or of FLORES ({FLORES}...). Correct the name or the pattern.{nearest(pattern, config.benchmarks)}"
            )


def check_published(config: Config) -> Faults:
    """Note the name of a paper whose numbers are not there."""
    faults = Faults()
    name = config.run.get("published")
    if name is not None and config.folders.find(f"published/{name}") is None:
        known = config.folders.names("published")
        faults.add(
            f"{config.at(['published'])}: there is no folder {config.folders.own}/published/{name}.{nearest(name, known)} Known: "
            f"{', '.join(known)}. Correct the name, or leave the key out."
        )
    return faults


def check_kept(config: Config) -> Faults:
    """Note a table that is to keep what is neither a language of the run nor a measure with a
    margin."""
    faults = Faults()
    margins = config.run["margins"]
    for name, table in config.run["tables"].items():
        for kept in table.get("keep", []):
            where = f"{config.at(['tables', name, 'keep'])}: {kept}"
            known = [*margins, *config.evaluated]
            if kept == VOTES:
                faults.add(
                    f"{where}: votes do not compare models document by document. Name this measure under `criterion`, or leave it out."
                )
            elif kept in MEASURES and kept not in margins:
                faults.add(
                    f"{where}: this measure has no margin. Add `margins: {{{kept}: points}}`: how many points count as nothing."
                )
            elif kept not in known:
                faults.add(
                    f"{where}: neither a measure nor a language of the run.{nearest(kept, known)} Known: {', '.join(known)}."
                )
            elif not margins:
                faults.add(f"{where}: no measure has a margin. Add `margins: {{measure: points}}` to the run.")
    return faults
