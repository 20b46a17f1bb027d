"""`langmerge check --data`: the tasks are loaded, and one document of each is asked."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.workflow


def test_one_document_of_each_task_is_asked_of_the_smallest_model(finished):
    said = finished.langmerge("check", "--data")
    assert "5 models (2 merges), 8 results" in said
    assert "the smallest model that is there, one document of each of 4 tasks" in said
    assert "It answers all of them." in said
