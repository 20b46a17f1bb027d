"""The texts of what tasks evaluate, for the search in corpora."""

from __future__ import annotations

import json

import pytest

from langmerge.errors import UserError
from langmerge.evaluation.items import items, texts
from langmerge.evaluation.lookup import Lookup

TASK = """\
task: quiz
dataset_path: json
dataset_kwargs: {data_files: {test: quiz.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Galdera: {{question}}\\nErantzuna:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
"""
DOCUMENTS = [
    {"question": f"Nor da {number}?", "choices": ["Ane", f"Jon {number}"], "answer": 0, "id": number}
    for number in range(3)
]


@pytest.fixture
def lookup(tmp_path):
    (tmp_path / "quiz.yaml").write_text(TASK)
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    return Lookup([tmp_path])


def test_every_field_that_is_a_text_of_every_document(lookup):
    assert [*items([{"task": "quiz"}], lookup)] == [
        {"task": "quiz", "document": number, "texts": [f"Nor da {number}?", "Ane", f"Jon {number}"]}
        for number in range(3)
    ]


def test_only_as_many_documents_as_are_evaluated(lookup):
    assert [item["document"] for item in items([{"task": "quiz", "limit": 2}], lookup)] == [0, 1]


def test_fields_at_any_depth():
    assert [*texts({"a": "x", "b": [{"c": "y"}, 3], "d": ("z",), "e": None})] == ["x", "y", "z"]


def test_a_task_that_is_not_there_is_refused(lookup):
    with pytest.raises(UserError, match="there is no task 'other'"):
        [*items([{"task": "other"}], lookup)]
