"""Selection: independent of files and processes, nested budgets, the held-out part."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from langmerge.corpora import select as module
from langmerge.corpora.documents import Index, text_hash
from langmerge.errors import UserError
from support.own_corpus import cleaned, read, selected, texts, write

DOCUMENTS = texts(200)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    cleaned(folder / "clean", [write(folder / "a.jsonl", DOCUMENTS[:120]), write(folder / "b.jsonl", DOCUMENTS[120:])])
    return folder / "clean"


def content(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_depends_on_the_order_of_files_or_the_number_of_processes(tmp_path, clean):
    parts = [DOCUMENTS[start::7] for start in range(7)][::-1]
    files = [write(tmp_path / f"{number}.jsonl", part[::-1]) for number, part in enumerate(parts)]
    cleaned(tmp_path / "clean", files, processes=3)
    options = {"held_out": 10, "budget": {"words": 5000}}
    selected(clean, tmp_path / "one", **options)
    selected(tmp_path / "clean", tmp_path / "two", **options)
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize("unit", ["documents", "words", "tokens"])
def test_a_larger_budget_contains_the_smaller_and_the_held_out_part_is_the_same(tmp_path, clean, unit):
    size = {"documents": lambda text: 1, "words": lambda text: len(text.split()), "tokens": len}[unit]
    found = []
    for share in (0.1, 0.3, 0.8):
        budget = int(share * sum(map(size, DOCUMENTS)))
        folder = tmp_path / str(share)
        counts = selected(clean, folder, tokens_of=lambda texts: map(len, texts), held_out=20, budget={unit: budget})
        chosen = read(folder / "train")
        assert counts["reached"]
        assert sum(map(size, chosen)) <= budget < sum(map(size, chosen)) + max(map(size, DOCUMENTS))
        found.append((chosen, read(folder / "held_out")))
    for (smaller, held_out), (larger, again) in itertools.pairwise(found):
        assert larger[: len(smaller)] == smaller
        assert len(larger) > len(smaller)
        assert held_out == again
    assert len(held_out) == 20
    assert not {*held_out} & {*larger}


def test_documents_are_in_the_order_of_their_hashes(tmp_path, clean):
    selected(clean, tmp_path / "all")
    assert read(tmp_path / "all" / "train") == sorted(DOCUMENTS, key=text_hash)


def test_a_larger_budget_adds_files_and_leaves_those_of_the_smaller(tmp_path, clean, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 20_000)
    selected(clean, tmp_path / "small", budget={"documents": 100})
    selected(clean, tmp_path / "large", budget={"documents": 180})
    small, large = content(tmp_path / "small" / "train"), content(tmp_path / "large" / "train")
    assert len(small) > 2
    assert len(large) > len(small)
    names = sorted(small)
    assert all(large[name] == small[name] for name in names[:-1])
    assert read(tmp_path / "large" / "train") == sorted(DOCUMENTS, key=text_hash)[:180]


def test_a_budget_that_is_not_reached_is_told(tmp_path, clean):
    for budget in ({"documents": 201}, {"words": 10**9}, {"tokens": 10**9}):
        counts = selected(clean, tmp_path / "all", tokens_of=lambda texts: map(len, texts), budget=budget)
        assert not counts["reached"]
        assert counts["train"]["documents"] == 200
    assert selected(clean, tmp_path / "all", budget={"documents": 200})["reached"]
    assert selected(clean, tmp_path / "all")["reached"]


def test_only_as_many_documents_are_tokenised_as_the_budget_needs(tmp_path, clean, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 10)
    seen: list[str] = []

    def counter(texts):
        seen.extend(texts)
        return map(len, texts)

    counts = selected(clean, tmp_path / "some", tokens_of=counter, budget={"tokens": 20_000})
    assert counts["train"]["documents"] <= len(seen) <= counts["train"]["documents"] + 20
    assert len({*seen}) == len(seen)


def test_the_number_of_documents_of_each_file_is_right(clean):
    index = Index.of(clean / "documents")
    assert np.bincount(index.columns["file"]).tolist() == [120, 80]
    assert [(rows.start, rows.stop, len(table)) for rows, table in index.tables()] == [(0, 120, 120), (120, 200, 80)]


def test_holding_out_most_of_a_corpus_is_refused(tmp_path, clean):
    with pytest.raises(UserError, match=r"held_out: 101 of 200 clean documents"):
        selected(clean, tmp_path / "none", held_out=101)
    with pytest.raises(UserError, match=r"budget: {'words': 1} is less than one document"):
        selected(clean, tmp_path / "none", budget={"words": 1})
    assert not (tmp_path / "none").exists()
