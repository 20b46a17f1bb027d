"""Data of lm-eval tasks from JSON lines, for `custom_dataset: !function jsonl.load` in a task's YAML.

`dataset_path: json` does the same, but writes a copy of each file into the user's Hugging Face cache and takes tens of times longer.
lm-eval loads this file by its path, so it imports nothing of this project.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict


def load(data_files: dict[str, str], **_: Any) -> DatasetDict:
    """Return the splits of a task.

    Args:
        data_files: path of each split's file; a relative one starts at the current directory.
        _: the task's metadata, which lm-eval passes as well.
    """
    splits = {}
    for split, path in data_files.items():
        with Path(path).open(encoding="utf-8") as file:
            splits[split] = Dataset.from_list([json.loads(line) for line in file])
    return DatasetDict(splits)
