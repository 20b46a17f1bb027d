"""BertaQA's two groups of questions: about the Basque Country and its culture ("Euskal gaiak"), and general ones ("Gai orokorrak").

lm-eval loads this file by its path, so it imports nothing of this project.
"""

from __future__ import annotations

from datasets import Dataset


def local_questions(dataset: Dataset) -> Dataset:
    return dataset.filter(lambda doc: doc["group"] == "Euskal gaiak")


def global_questions(dataset: Dataset) -> Dataset:
    return dataset.filter(lambda doc: doc["group"] == "Gai orokorrak")
