"""Write the miniature world of one language: training text, instructions and lm-eval tasks."""

from __future__ import annotations

from pathlib import Path
from random import Random

import yaml

from langmerge.files import write_jsonl, write_text
from langmerge.grid.folders import Folders
from langmerge.mini.benchmarks import Sizes, Task, tasks
from langmerge.mini.cldr import Language
from langmerge.mini.corpus import corpus
from langmerge.mini.instructions import instructions

INSTRUCTIONS = 0.5
"""Conversations in instructions.jsonl per line of corpus.jsonl."""


def write_world(
    output: Path, folders: Folders, code: str, partner: str | None, sizes: Sizes, lines: int, seed: int
) -> None:
    """Write corpus.jsonl, instructions.jsonl and tasks/ into a folder.

    Args:
        output: the folder.
        folders: where the languages' files are found.
        code: the language's code.
        partner: code of the language that the instructions also translate from and into, or None.
        sizes: documents of the tasks' test splits.
        lines: documents in corpus.jsonl.
        seed: of all random choices.

    Raises:
        UserError: a language's file is missing or wrong, or CLDR has too few words for it.
    """
    language = Language.load(folders, code)
    sources = [Language.load(folders, source) for source in language.mt_sources]
    with_partner = Language.load(folders, partner) if partner else None

    def rng(part: str) -> Random:
        return Random(f"{seed}/{code}/{part}")

    texts = corpus(language, sources, lines, rng("corpus"))
    conversations = instructions(language, with_partner, round(INSTRUCTIONS * lines), rng("instructions"))
    write_jsonl(output / "corpus.jsonl", ({"text": text} for text in texts))
    write_jsonl(output / "instructions.jsonl", conversations)
    turns = "\n".join(message["content"] for conversation in conversations for message in conversation["messages"])
    training_text = "\n".join(texts) + "\n" + turns
    for task in tasks(language, sources, sizes, training_text, rng("tasks")):
        write_task(output / "tasks", task)


def write_task(folder: Path, task: Task) -> None:
    """Write a task's documents and its YAML file.

    The YAML file names the shipped file that it is based on, and its data files by their names in
    the same folder, so that the folder can be moved. langmerge.evaluation.taskfiles resolves both.
    """
    files = {split: folder / f"{task.name}.{split}.jsonl" for split in task.documents}
    for split, path in files.items():
        write_jsonl(path, task.documents[split])
    settings = {
        "task": task.name,
        "base": task.base,
        "dataset_kwargs": {"data_files": {split: path.name for split, path in files.items()}},
        **task.settings,
    }
    write_text(folder / f"{task.name}.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
