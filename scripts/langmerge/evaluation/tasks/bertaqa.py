"""BertaQA's two groups of questions.

"Euskal gaiak" are about the Basque Country and its culture, "Gai orokorrak" are general ones.
"""

from __future__ import annotations

from datasets import Dataset


def local_questions(dataset: Dataset) -> Dataset:
    return dataset.filter(lambda doc: doc["group"] == "Euskal gaiak")


def global_questions(dataset: Dataset) -> Dataset:
    return dataset.filter(lambda doc: doc["group"] == "Gai orokorrak")
