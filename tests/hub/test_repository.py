"""Which files of a repository are needed, and which names are safe."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.utils import filter_repo_objects

from langmerge.errors import UserError
from langmerge.hub.fetch import is_safe
from langmerge.hub.repository import Repository, read_record


@pytest.mark.parametrize(
    "name", ["a", "data/eu/test.jsonl", ".gitattributes", "..x/y..", "a..b", "it's/é ñ.json", "a/...", "ab:c"]
)
def test_safe_names(name):
    assert is_safe(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "..", "../a", "a/../b", "a/..", ".", "./a", "a/.", "/a", "//a", "a//b", "a/"),
        *("..\\a", "a\\b", "\\\\host\\a", "C:a", "c:/a"),
        *("a" * 300, f"data/{'ñ' * 130}.jsonl"),
        *("a\nb", "a\x00", "\x1b[2J", "a\x7f", "a\x85", "\udc80"),
    ],
)
def test_names_that_are_not_safe(name):
    assert not is_safe(name)


def test_the_name_of_the_caches_own_record_is_never_fetched():
    model = Repository("models", "lab/model", "main", Path("cache/model"), ())
    data = Repository("datasets", "lab/data", "main", Path("cache/data"), ())
    names = ["config.json", "langmerge.json", ".langmerge.json"]
    assert [*filter_repo_objects(names, **model.patterns)] == ["config.json", ".langmerge.json"]
    assert [*filter_repo_objects(names, **data.patterns)] == ["config.json", "langmerge.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"hub": "lab/model"}', "3"])
def test_a_broken_record_is_refused(tmp_path, content):
    (tmp_path / "langmerge.json").write_text(content)
    with pytest.raises(UserError, match="not a record of what was fetched"):
        read_record(tmp_path / "langmerge.json")
