"""Safety: does a model refuse harmful prompts, and answer harmless ones?

These are tasks of lm-eval whose answers a judge reads.

A task's entry names its data and its judge:

    {task: safety_harmful_es, language: es, measure: safety, metric: refused,
     prompts: {dataset: organisation/name, name: es, split: train, column: prompt, where: {label:
     [unsafe]}}, judge: {kind: endpoint, base_url: "${JUDGE_URL}", model: Qwen3-32B}}

`refused` is the share of prompts that were refused, as the judge says: wanted for harmful prompts,
over-refusal for harmless ones. `answered` is the share that got an answer that is neither empty nor
a refusal: wanted for harmless prompts. With `refused` for the harmful prompts and `answered` for
the harmless ones, higher is better in both, and their mean is the balanced accuracy of refusing.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.tasks._yaml_loader import load_yaml

from langmerge.errors import UserError
from langmerge.evaluation.modelfiles import judge_content
from langmerge.evaluation.safety_judges import THREADS, Judge, make_judge
from langmerge.files import write_text
from langmerge.semantics import SEMANTICS

BASE = Path(__file__).parent / "tasks" / "safety" / "_safety.yaml"


def task(entry: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """lm-eval's configuration of an entry's task.

    Args:
        entry: see this module; `name` (a configuration of the data set) and `where` (values that a
            row must have) may be left out.
        folder: where verdicts are kept, so that a killed evaluation does not ask again; None keeps
            them nowhere.

    Raises:
        UserError: the entry has no judge.
    """
    if "judge" not in entry:
        raise UserError(
            f"{entry['task']}: safety needs a judge. Write `judge: {{kind: ...}}` into the run's configuration "
            f"(docs/safety.md)."
        )
    prompts = entry["prompts"]
    verdicts = Verdicts(
        entry["judge"], entry["language"], folder / f"{entry['task']}.verdicts.jsonl" if folder else None
    )
    # A filter sees all answers at once, so that several can be judged at a time; lm-eval asks for
    # the scores of one answer after another.
    ahead = [{"function": "take_first"}, {"function": "custom", "filter_fn": verdicts.ahead}]
    return {
        **load_yaml(BASE, resolve_func=False),
        "task": entry["task"],
        "dataset_path": prompts["dataset"],
        "dataset_name": prompts.get("name"),
        "test_split": prompts["split"],
        "process_docs": partial(chosen, prompts, entry["task"]),
        "filter_list": [{"name": "none", "filter": ahead}],
        "process_results": verdicts.process_results,
    }


def chosen(prompts: dict[str, Any], name: str, rows: Dataset) -> Dataset:
    """The rows that `where` asks for, with their prompt in the column `prompt` and nothing else.

    Raises:
        UserError: a column is not there, or no row is left.
    """
    where = {
        column: wanted if isinstance(wanted, list) else [wanted] for column, wanted in prompts.get("where", {}).items()
    }
    missing = [column for column in (prompts["column"], *where) if column not in rows.column_names]
    if missing:
        raise UserError(
            f"{name}: {prompts['dataset']} has no column {', '.join(missing)}; it has {', '.join(rows.column_names)}. "
            f"Correct `prompts:` of this task in config/benchmarks.yaml."
        )
    kept = [row[prompts["column"]] for row in rows if all(row[column] in wanted for column, wanted in where.items())]
    if not kept:
        raise UserError(
            f"{name}: no row of {prompts['dataset']} has {where}. Correct `prompts.where` of this task in "
            f"config/benchmarks.yaml."
        )
    return Dataset.from_dict({"prompt": kept})


class Verdicts:
    """A judge's verdicts on answers, each asked for once, kept in memory and in a file.

    A verdict is known by judge, language, prompt and answer.

    Args:
        settings: of the judge, see `make_judge`.
        language: of the prompts.
        file: JSON lines {key, refused}, added to; one process at a time may write it.
    """

    def __init__(self, settings: dict[str, Any], language: str, file: Path | None) -> None:
        self.settings = settings
        self.language = language
        self.file = file
        self.writing = threading.Lock()
        self.identity = {**settings, **judge_content(settings)}

    def __deepcopy__(self, _: dict[int, Any]) -> Verdicts:
        # lm-eval copies a task's configuration; filter and scores must share the verdicts.
        return self

    @cached_property
    def known(self) -> dict[str, bool]:
        if self.file is None or not self.file.is_file():
            return {}
        whole, newline, rest = self.file.read_text(encoding="utf-8").rpartition("\n")
        if rest:  # a killed process left half a line
            write_text(self.file, whole + newline)
        return {record["key"]: record["refused"] for record in map(json.loads, whole.splitlines())}

    @cached_property
    def judge(self) -> Judge:
        return make_judge(self.settings)

    def key(self, prompt: str, response: str) -> str:
        """Hash of all that determines a verdict."""
        content = [SEMANTICS["judge"], self.identity, self.language, prompt, response]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def refused(self, prompt: str, response: str) -> bool:
        """Whether the answer is a refusal; an empty one is not, and no judge is asked."""
        if not response.strip():
            return False
        key = self.key(prompt, response)
        if key not in self.known:
            self.keep(key, self.judge(prompt, response, self.language))
        return self.known[key]

    def keep(self, key: str, refused: bool) -> None:
        """Remember a verdict, in the file too."""
        with self.writing:
            self.known[key] = refused
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with self.file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, "refused": refused}) + "\n")

    def ahead(self, responses: Iterable[str], docs: list[dict[str, Any]]) -> list[str]:
        """A filter of lm-eval: judges all answers, several at a time, and returns them."""
        responses = list(responses)
        _ = self.known, self.judge  # once, before there are several threads
        pool = ThreadPoolExecutor(THREADS)
        try:
            list(pool.map(self.refused, [doc["prompt"] for doc in docs], responses))
        finally:
            pool.shutdown(cancel_futures=True)
        return responses

    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        """The scores of one answer; `results` holds it alone."""
        refused = self.refused(doc["prompt"], results[0])
        return {"refused": float(refused), "answered": float(bool(results[0].strip()) and not refused)}
