"""Tokens: decoding gives the text, each document has one beginning and one end, counts are right."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from langmerge.corpora.tokenise import DocumentTokenizer, tokenise
from langmerge.errors import UserError
from langmerge.training.tokenizer import BOS, EOS, train_tokenizer
from support.own_corpus import cleaned, read, selected, texts, write
from support.texts import PARAGRAPHS, documents

TEXTS = [
    *PARAGRAPHS.values(),
    *documents().values(),
    f"a {EOS} b {BOS}<|im_end|>",
    "ñandú\r\n\t 日本語 🎉 e\u0301",
    *texts(60),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    train_tokenizer(iter(TEXTS), 600).save_pretrained(folder / "tokenizer")
    cleaned(folder / "clean", [write(folder / "a.jsonl", TEXTS)])
    selected(folder / "clean", folder / "selected", held_out=20)
    return folder


def documents_of(part) -> list[np.ndarray]:
    """Each document's tokens, read as training reads them."""
    found = []
    for shard in sorted((part / "shards").glob("*.bin")):
        tokens = np.memmap(shard, "<u4", "r")
        starts = np.load(shard.with_suffix(".idx.npy"))
        assert starts.dtype == np.dtype("<u8")
        assert starts[0] == 0
        assert starts[-1] == len(tokens)
        found += [tokens[start:stop] for start, stop in itertools.pairwise(starts)]
    return found


def test_decoding_gives_the_texts_and_each_has_one_beginning_and_one_end(folder, tmp_path):
    made = tokenise(folder / "selected", tmp_path / "tokens", folder / "tokenizer", EOS, None, 1)
    tokenizer = DocumentTokenizer(folder / "tokenizer", EOS)
    start = tokenizer.tokenizer.token_to_id(BOS)
    for part in ("train", "held_out"):
        found, expected = documents_of(tmp_path / "tokens" / part), read(folder / "selected" / part)
        assert len(found) == len(expected)
        for tokens, text in zip(found, expected, strict=True):
            assert (tokens[0], tokens[-1]) == (start, tokenizer.end)
            assert not np.isin(tokens[1:-1], [start, tokenizer.end]).any()
            assert tokenizer.tokenizer.decode(tokens[1:-1].tolist(), skip_special_tokens=False) == text
        meta = json.loads((tmp_path / "tokens" / part / "meta.json").read_text())
        assert meta == made[part]
        assert meta == {
            "tokenizer": tokenizer.hash,
            "vocabulary": 600,
            "document_start": [start],
            "document_end": tokenizer.end,
            "documents": len(expected),
            "tokens": sum(map(len, found)),
            "words": meta["words"],
            "characters": sum(map(len, expected)),
            "bytes": sum(len(text.encode()) for text in expected),
        }
        size = sum(shard.stat().st_size for shard in (tmp_path / "tokens" / part / "shards").glob("*.bin"))
        assert size == 4 * meta["tokens"]


def test_a_budget_of_tokens_counts_what_the_shards_hold(folder, tmp_path):
    tokenizer = DocumentTokenizer(folder / "tokenizer", EOS)
    budget = {"tokens": 9_000, "tokenizer": "own"}
    assert selected(folder / "clean", tmp_path / "selected", tokenizer.lengths, budget=budget)["reached"]
    made = tokenise(tmp_path / "selected", tmp_path / "tokens", folder / "tokenizer", EOS, None, 1)
    longest = max(map(len, tokenizer.encode(TEXTS)))
    assert budget["tokens"] - longest < made["train"]["tokens"] <= budget["tokens"]
    assert made.keys() == {"train"}


def test_documents_that_hold_items_are_left_out(folder, tmp_path):
    from langmerge.corpora.documents import text_hash

    wanted = read(folder / "selected" / "train")
    (tmp_path / "searched").mkdir()
    np.save(tmp_path / "searched" / "dropped.npy", np.array([text_hash(wanted[3]), text_hash(wanted[8])], np.uint64))
    made = tokenise(folder / "selected", tmp_path / "tokens", folder / "tokenizer", EOS, tmp_path / "searched", 1)
    assert made["train"]["documents"] == len(wanted) - 2
    assert made["held_out"]["documents"] == 20


def test_the_same_tokens_from_two_processes(folder, tmp_path, monkeypatch):
    from langmerge.corpora import select

    monkeypatch.setattr(select, "SHARD_BYTES", 10_000)
    selected(folder / "clean", tmp_path / "selected")
    for processes in (1, 2):
        tokenise(tmp_path / "selected", tmp_path / f"{processes}", folder / "tokenizer", EOS, None, processes)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / number / "train").rglob("*") if path.is_file()}
        for number in "12"
    )
    assert len(one) > 5
    assert one == two


def test_a_tokenizer_without_a_beginning(folder, tmp_path):
    """As Qwen's: it has no token that begins a text."""
    tokenizer = train_tokenizer(iter(TEXTS), 600)
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.bos_token = None
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    made = DocumentTokenizer(tmp_path / "tokenizer", EOS)
    assert made.start == []
    assert next(iter(made.encode(["bat"])))[-1] == made.end


def test_an_unknown_document_end_is_refused(folder):
    with pytest.raises(UserError, match=r"document_end: the tokenizer has no token '<\|end_of_text\|>'"):
        DocumentTokenizer(folder / "tokenizer", "<|end_of_text|>")


def test_datatroves_tokenizer_writes_no_beginning_and_lets_texts_write_the_end(folder, tmp_path):
    """Why tokenising is written here."""
    from datatrove.data import Document
    from datatrove.pipeline.tokens import DocumentTokenizer as Datatroves

    step = Datatroves(
        str(tmp_path),
        tokenizer_name_or_path=str(folder / "tokenizer" / "tokenizer.json"),
        eos_token=EOS,
        shuffle_documents=False,
        save_final_metadata=False,
    )
    step.run(iter([Document(f"bat {EOS} bi", "1")]))
    (file,) = tmp_path.glob("*.ds")
    tokens = np.fromfile(file, "<u2").tolist()
    tokenizer = DocumentTokenizer(folder / "tokenizer", EOS)
    assert tokenizer.tokenizer.token_to_id(BOS) not in tokens
    assert tokens.count(tokenizer.end) == 2
