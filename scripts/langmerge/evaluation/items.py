"""The texts of what tasks evaluate: a corpus is searched for them before a model is trained on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from langmerge.evaluation.lookup import Lookup


def items(entries: Iterable[dict[str, Any]], lookup: Lookup) -> Iterator[dict[str, Any]]:
    """Every document that the tasks of some entries evaluate: {task, document, texts}.

    `document` is its number and `texts` are all its fields that are texts: questions, passages,
    answers. Prompts are not used, because their wording around the fields is in no corpus.

    Raises:
        UserError: a task or its data are not there.
    """
    for entry in entries:
        for name, task in lookup.load(entry).items():
            for number, document in enumerate(task.eval_docs):
                if entry.get("limit") is not None and number >= entry["limit"]:
                    break
                yield {"task": name, "document": number, "texts": list(dict.fromkeys(texts(document)))}


def texts(value: Any) -> Iterator[str]:
    """The strings in a document, at any depth."""
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from texts(item)
        case list() | tuple():
            for item in value:
                yield from texts(item)
