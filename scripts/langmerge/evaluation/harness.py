"""Run lm-eval tasks on one loaded model.

There is one result file per task and seed, and they are gathered into one sealed result.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.api.task import Task
from tqdm import tqdm

from langmerge import VERSION
from langmerge.diagnostics import diagnose
from langmerge.errors import UserError
from langmerge.evaluation import backends
from langmerge.evaluation.blocks import (
    discard_blocks,
    hashes,
    in_order,
    keep_block,
    only,
    read_blocks,
    read_samples,
    write_samples,
)
from langmerge.evaluation.engines.lm import EngineLM
from langmerge.evaluation.groups import expanded, gathered, group_file
from langmerge.evaluation.lookup import Lookup
from langmerge.evaluation.modelfiles import RECORD, files_key
from langmerge.evaluation.scores import Sample, marked, scored
from langmerge.evaluation.sealed import read_sealed, write_sealed
from langmerge.evaluation.settings import chat_arguments, completed
from langmerge.evaluation.units import Unit, units
from langmerge.measures import TRANSLATION
from langmerge.semantics import SEMANTICS
from langmerge.words import fertility

logger = logging.getLogger(__name__)
# lm-eval warns for every task of settings (few-shots, generation) that the config asks for.
logging.getLogger("lm_eval").setLevel(logging.ERROR)

FEWSHOT_SEED = 1234
"""lm-eval's default: the examples in a prompt do not depend on the seed of the sampling."""


@dataclass(frozen=True)
class Evaluation:
    """All tasks of one shard on one model.

    Attributes:
        model: folder of a Hugging Face checkpoint.
        tasks: entries, each with task, language, measure, metric and optionally fewshot, seeds,
            generation, chat_template, flores, content.
        lookup: finds the tasks and their data.
        parts: folder of the units' results.
        samples: folder of the units' prompts and answers, or None.
        key: identity of the weights; None hashes the model's files.
        chat_template: apply it, with few-shots as turns, to tasks that do not say otherwise
            (instructed models), or to none (base models).
        backend: settings of `backends.load`.
        loaded: gives the model in its engine, whenever it is needed; None loads it from its folder.
        record: gives what is known of the model's making; None reads it from its folder.
    """

    model: Path
    tasks: list[dict[str, Any]]
    lookup: Lookup
    parts: Path
    samples: Path | None
    key: str | None
    chat_template: bool
    backend: dict[str, Any]
    loaded: Callable[[], EngineLM] | None = None
    record: Callable[[], dict[str, Any]] | None = None

    def run(self, result: Path, provenance: dict[str, Any]) -> None:
        """Evaluate what is not yet done and write `result`.

        Raises:
            UserError: the part of a finished task is damaged; or a task failed (the others are done
                and kept), and the message names it.
        """
        wanted = self.units
        done = [unit for unit in wanted if self.part(unit).is_file()]
        for unit in done:
            read_sealed(self.part(unit))  # now, and not after hours of work on the others
        todo = [unit for unit in wanted if unit not in done]
        if done:
            print(f"{len(done)} of {len(wanted)} tasks are done already.", file=sys.stderr)
        if todo:
            self.lm  # noqa: B018 - a model that cannot be loaded is one error, and not one per task
        failed = {}
        for unit in tqdm(todo, unit="task", desc=self.model.name, disable=None):
            try:
                self.evaluate(unit)
            except UserError as error:
                failed[unit.name()] = str(error)
            except Exception as error:
                logger.exception("%s failed", unit.name())
                failed[unit.name()] = f"{type(error).__name__}: {error}"
        if todo and not self.loaded:
            self.lm.engine.close()
        if failed:
            details = "\n  ".join(f"{name}: {error}" for name, error in failed.items())
            raise UserError(
                f"{len(failed)} of {len(wanted)} tasks failed on {self.model}; the finished ones are kept and will not run "
                f"again:\n  {details}"
            )
        parts = [read_sealed(self.part(unit)) for unit in wanted]
        scores = gathered(wanted, parts, self.samples)
        write_sealed(result, {**provenance, **self.provenance(parts), "scores": scores})

    @cached_property
    def units(self) -> list[Unit]:
        """What there is to evaluate."""
        entries = [own for task in self.tasks for own in expanded(completed(task), self.lookup.folders)]
        return list(units(map(self.lookup.identified, entries), self.lookup.sources))

    def part(self, unit: Unit) -> Path:
        """The file of a unit's result."""
        return self.parts / unit.file(self.model_key, self.chat_template, self.backend)

    @cached_property
    def model_key(self) -> str:
        return self.key or files_key(self.model)

    @property
    def lm(self) -> EngineLM:
        # Not kept: an engine may have taken another cell's weights since.
        return self.loaded() if self.loaded else self.own_lm

    @cached_property
    def own_lm(self) -> EngineLM:
        return backends.load(self.model, self.backend)

    def evaluate(self, unit: Unit) -> None:
        """Evaluate one unit and write its samples, then its result."""
        entry = unit.entry
        tasks = self.loaded_tasks(unit)
        samples = self.all_answers(unit, tasks)
        scores = scored(tasks, samples, entry["metric"])
        part = self.part(unit)
        if self.samples:
            write_samples(self.samples / f"{part.stem}.jsonl.gz", samples)
        identity = {
            "key": unit.key(self.model_key, self.chat_template, self.backend),
            "fingerprint": unit.fingerprint(self.backend),
            "seed": unit.seed,
            **{name: entry[name] for name in ("language", "measure", "task", "metric")},
            "made_with": self.made_with,
        }
        translated = (
            {"fertility": self.fertility(samples, entry["language"])} if entry["measure"] == TRANSLATION else {}
        )
        write_sealed(part, {**identity, **scores, **translated, "diagnostics": diagnose(samples, entry["language"])})
        if self.samples:
            discard_blocks(part, self.samples)

    def fertility(self, samples: list[Sample], language: str) -> dict[str, int]:
        """What the model's tokenizer makes of the words of a translation's references."""
        targets = [sample["target"] for sample in samples if sample["filter"] == "none"]
        references = [text for target in targets for text in ([target] if isinstance(target, str) else target)]
        return fertility(references, language, lambda texts: self.lm.encode(texts, special=False))

    @property
    def made_with(self) -> dict[str, Any]:
        """Versions and device."""
        return {
            "versions": {**self.lm.engine.versions, "lm_eval": lm_eval.__version__},
            "device": self.lm.engine.device,
        }

    def loaded_tasks(self, unit: Unit) -> dict[str, Task]:
        tasks = self.lookup.load(unit.entry)
        check_tasks(tasks, unit.entry)
        return tasks

    def all_answers(self, unit: Unit, tasks: dict[str, Task]) -> list[Sample]:
        """The answers to all documents: those of blocks, and to what none of them has."""
        kept = read_blocks(self.part(unit), self.samples, self.made_with) if self.samples else []
        if not kept:
            return self.answers(unit, tasks)
        known = hashes(kept)
        left = only(tasks, lambda document: document not in known, unit.entry.get("limit"))
        return in_order([*kept, *self.answers(unit, left)], tasks)

    def some_answers(self, unit: Unit, documents: Collection[str]) -> list[Sample]:
        """The answers to the documents with these hashes. Those that are not known are asked, and
        kept as a block.
        """
        known = self.kept_answers(unit)
        missing = {*documents} - hashes(known)
        if missing:
            tasks = only(self.loaded_tasks(unit), missing.__contains__, unit.entry.get("limit"))
            keep_block(self.part(unit), self.samples, self.answers(unit, tasks), self.made_with)
            known = self.kept_answers(unit)
        return [sample for sample in known if sample["doc_hash"] in documents]

    def kept_answers(self, unit: Unit) -> list[Sample]:
        """All answers of a unit that are kept: its own, or those in its group's file, or its
        blocks.
        """
        part = self.part(unit)
        if not part.is_file():
            return read_blocks(part, self.samples)
        own = self.samples / f"{part.stem}.jsonl.gz"
        if "group" in unit.entry and not own.is_file():
            keys = [each.key(self.model_key, self.chat_template, self.backend) for each in self.units]
            own = self.samples / group_file(unit, self.units, keys)
            return [sample for sample in read_samples(own) if sample["task"] == unit.entry["task"]]
        return read_samples(own)

    def answers(self, unit: Unit, tasks: dict[str, Task]) -> list[Sample]:
        """Ask the model the tasks of a unit; return lm-eval's samples of all of them, marked."""
        if not tasks:
            return []
        entry = unit.entry
        chat_template = self.chat_template and entry.get("chat_template", True)
        for task in tasks.values():
            task.set_config(key="num_fewshot", value=entry.get("fewshot", 0))
            task.set_fewshot_seed(seed=FEWSHOT_SEED)
            if entry.get("generation"):
                task.set_config(key="generation_kwargs", value=dict(entry["generation"]), update=True)
        self.lm.begin(FEWSHOT_SEED if unit.seed is None else unit.seed, chat_arguments(entry))
        # Not lm_eval.simple_evaluate: it runs `pip list` for its report after every call, which
        # takes longer than a small task.
        results = lm_eval.evaluate(
            lm=self.lm,
            task_dict={"tasks": tasks},
            limit=entry.get("limit"),
            apply_chat_template=chat_template,
            fewshot_as_multiturn=chat_template,
            bootstrap_iters=0,  # `scored` estimates the error, of the one metric that counts
            log_samples=True,
        )
        return [self.noted(sample) for name in tasks for sample in marked(name, results["samples"][name])]

    def noted(self, sample: Sample) -> Sample:
        """A sample with what the engine knows of its document.

        `truncated`: how many tokens of the prompt were cut off, at its beginning. For written
        answers also `tokens` and `finished` of each: its length, and whether it ended by itself.
        """
        note = self.lm.notes[sample["task"], sample["doc_id"]]
        answers = {
            "tokens": [answer.tokens for answer in note.answers],
            "finished": [answer.finished for answer in note.answers],
        }
        return {**sample, "truncated": note.truncated, **(answers if note.answers else {})}

    def provenance(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """Where the numbers come from: the model's own record, the settings, the versions, and the
        device. Parts that were made at different times may have been made with different ones.
        """
        return {
            **(self.record() if self.record else {"model": record_of(self.model)}),
            "model_key": self.model_key,
            "chat_template": self.chat_template,
            "backend": self.backend,
            "tasks": self.tasks,
            "datasets": {name: Path(folder).name for name, folder in self.lookup.datasets.items()},
            "versions": {"langmerge": VERSION, "semantics": SEMANTICS},
            "made_with": distinct(part["made_with"] for part in parts if "made_with" in part),
        }


def record_of(folder: Path) -> dict[str, Any]:
    """What a model's folder says of its making."""
    record = folder / RECORD
    return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {"path": str(folder)}


def distinct(values: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each value once, in the order of its first appearance."""
    found: list[dict[str, Any]] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def check_tasks(tasks: dict[str, Task], entry: dict[str, Any]) -> None:
    """Refuse what would fail only after the model was asked, or with a message that says nothing.

    Raises:
        UserError: there are fewer examples than are asked for, or no such metric.
    """
    wanted = entry.get("fewshot", 0)
    for name, task in tasks.items():
        if entry["metric"] not in task.aggregation():
            raise UserError(
                f"{name}: no metric {entry['metric']!r}; it has {', '.join(sorted(task.aggregation()))}. Correct `metric:` in the "
                f"configuration."
            )
        sampler = getattr(task, "sampler", None)
        if not wanted or sampler is None:
            continue
        split = task.fewshot_cfg.split
        shared = split is not None and split == task.config.test_split
        there = len(sampler.fewshot_docs()) - shared  # a document is no example of itself
        if wanted > there:
            raise UserError(
                f"{name}: fewshot: {wanted} examples are asked for, but the split {split or 'of its examples'!r} has {there} for "
                f"each document. Set `fewshot:` to {there} or less."
            )
