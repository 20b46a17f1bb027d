"""Make the miniature world of one language: training text, instructions, and lm-eval tasks.

Writes into OUTPUT_DIR: corpus.jsonl ({"text"} a line), instructions.jsonl ({"messages"} a line), tasks/<task>.yaml and tasks/<task>.{dev,test}.jsonl.
All of it depends on the language's file, the files of its mt_sources, and the seed; the same seed gives the same bytes. The tasks' paths are relative to the
current directory if OUTPUT_DIR is, so that results can be moved with their project.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import yaml

from common import run_command, write_text
from mini.benchmarks import Sizes, Task, tasks
from mini.cldr import Language, load_languages
from mini.corpus import corpus
from mini.instructions import instructions

TASK_BASES = Path(__file__).parent / "evaluation"

INSTRUCTIONS = 0.5
"""Conversations in instructions.jsonl, as a share of the lines in corpus.jsonl."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="OUTPUT_DIR", help="folder to write into, such as results/mini/data/eu")
    parser.add_argument("--language", required=True, help="the language's code: the name of its file in the folder of --languages")
    parser.add_argument("--languages", type=Path, default=Path("config/languages"), help="folder of language files (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--lines", type=int, default=20000, help="documents in corpus.jsonl (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=200, help="test documents of each multiple-choice task (default: %(default)s)")
    parser.add_argument("--translations", type=int, default=60, help="test documents of each translation task (default: %(default)s)")
    parser.add_argument("--prompts", type=int, default=60, help="test documents of the IFEval task (default: %(default)s)")
    parser.add_argument("--partner", help="code of a language that the instructions also translate from and into (default: none)")
    arguments = parser.parse_args()

    language = Language.load(arguments.languages, arguments.language)
    sources = load_languages(arguments.languages, language.mt_sources)
    partner = Language.load(arguments.languages, arguments.partner) if arguments.partner else None

    def rng(part: str) -> Random:
        return Random(f"{arguments.seed}/{language.code}/{part}")

    texts = corpus(language, sources, arguments.lines, rng("corpus"))
    conversations = instructions(language, partner, round(INSTRUCTIONS * arguments.lines), rng("instructions"))
    write_lines(arguments.output / "corpus.jsonl", ({"text": text} for text in texts))
    write_lines(arguments.output / "instructions.jsonl", conversations)
    turns = "\n".join(message["content"] for conversation in conversations for message in conversation["messages"])
    training_text = "\n".join(texts) + "\n" + turns
    sizes = Sizes(arguments.documents, arguments.translations, arguments.prompts)
    for task in tasks(language, sources, sizes, training_text, rng("tasks")):
        write_task(arguments.output / "tasks", task)


def write_task(folder: Path, task: Task) -> None:
    """Write a task's documents and its YAML, a few lines over a base in scripts/evaluation/."""
    files = {split: folder / f"{task.name}.{split}.jsonl" for split in task.documents}
    for split, path in files.items():
        write_lines(path, task.documents[split])
    settings = {
        "include": os.path.relpath(TASK_BASES / task.base, folder),
        "task": task.name,
        "dataset_kwargs": {"data_files": {split: path.as_posix() for split, path in files.items()}},
        **task.settings,
    }
    write_text(folder / f"{task.name}.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))


def write_lines(path: Path, values: Iterable[Any]) -> None:
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


if __name__ == "__main__":
    run_command(main)
