"""Data of lm-eval tasks from JSON lines.

A task's YAML says `custom_dataset: !function langmerge.evaluation.jsonl.load`.

`dataset_path: json` reads them too, but writes a copy of each file into the user's Hugging Face
cache and takes tens of times longer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict


def load(data_files: dict[str, str], **_: Any) -> DatasetDict:
    """Return the splits of a task.

    Args:
        data_files: path of each split's file. In a YAML file a relative path starts at its folder
            (`localdata`).
        _: the task's metadata, which lm-eval passes too.
    """
    splits = {}
    for split, path in data_files.items():
        with Path(path).open(encoding="utf-8") as file:
            splits[split] = Dataset.from_list([json.loads(line) for line in file])
    return DatasetDict(splits)
