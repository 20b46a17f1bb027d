"""`langmerge corpus`: the steps from text to tokens, one after another, in a folder of the user's."""

from __future__ import annotations

import json

import pytest
import yaml

from langmerge.commands import corpus as command
from langmerge.errors import UserError
from langmerge.training.tokenizer import EOS, train_tokenizer
from support.commands import call
from support.own_corpus import read, texts, write


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data" / "a.jsonl", texts(30))
    corpus(tmp_path)
    train_tokenizer(iter(texts(30)), 400).save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def corpus(folder, **more) -> None:
    content = {"language": "eu", "source": {"paths": ["data/*.jsonl"]}, "held_out": 5, **more}
    (folder / "config" / "corpora").mkdir(parents=True, exist_ok=True)
    (folder / "config" / "corpora" / "own.yaml").write_text(yaml.safe_dump(content))


TOKENIZER = ("--tokenizer", "tokenizer", f"--document-end={EOS}")


def test_from_text_to_tokens(folder, capsys):
    corpus(folder, contamination={"action": "drop"}, filters=[{"c4": "dolma"}])
    one = ("--processes", 1)
    call(command, "clean", "own", "clean", *one)
    call(command, "select", "own", "clean", "selected")
    held = {"task": "quiz", "document": 0, "texts": [read(folder / "selected" / "train")[3]]}
    (folder / "items.jsonl").write_text(json.dumps(held) + "\n")
    call(command, "contamination", "own", "selected", "items.jsonl", "searched", *one)
    call(command, "tokenise", "own", "selected", "tokens", *TOKENIZER, "--contamination", "searched", *one)
    assert capsys.readouterr().out.splitlines() == [
        "30 of 30 documents are clean. Dropped:",
        "  unreadable: none",
        "  c4: dolma: none",
        "  duplicates: 0 equal",
        "25 documents to train on, 5 held out.",
        "1 of 25 documents hold items of benchmarks; 1 are dropped.",
        f"own, train: 24 documents, {meta(folder, 'train')['tokens']:,} tokens",
        f"own, held_out: 5 documents, {meta(folder, 'held_out')['tokens']:,} tokens",
    ]
    assert sorted(path.name for path in folder.iterdir()) == [
        "clean", "config", "data", "items.jsonl", "searched", "selected", "tokenizer", "tokens",
    ]  # fmt: skip


def meta(folder, part) -> dict:
    return json.loads((folder / "tokens" / part / "meta.json").read_text())


def test_a_budget_of_tokens_needs_a_tokenizer(folder, capsys):
    corpus(folder, budget={"tokens": 10**6, "tokenizer": "own"})
    call(command, "clean", "own", "clean", "--processes", 1)
    with pytest.raises(UserError, match=r"own.yaml: its budget is in tokens: give --tokenizer and --document-end"):
        call(command, "select", "own", "clean", "selected")
    call(command, "select", "own", "clean", "selected", *TOKENIZER)
    assert (
        "The clean text is smaller than the budget of 1,000,000 tokens: all of it was taken." in capsys.readouterr().out
    )


def test_mistakes(folder):
    with pytest.raises(UserError, match="--processes 0: expected a number above 0"):
        call(command, "clean", "own", "clean", "--processes", 0)
    with pytest.raises(UserError, match="unknown corpus 'other'"):
        call(command, "clean", "other", "clean")
