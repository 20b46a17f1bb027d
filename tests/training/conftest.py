"""Shared by the tests of training: a tokenizer, two corpora, a recipe and a trained model."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from langmerge.training import loop
from langmerge.training.recipe import complete
from langmerge.training.tokenizer import train_tokenizer
from support.corpora import CHATS, LENGTH, ODD, TEXTS, write


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder with a tokenizer, text.jsonl and chats.jsonl."""
    folder = tmp_path_factory.mktemp("world") / ODD
    folder.mkdir()
    train_tokenizer(iter(TEXTS), 320).save_pretrained(folder / "tokenizer")
    write(folder / "text.jsonl", [{"text": text} for text in TEXTS])
    write(folder / "chats.jsonl", [{"messages": chat} for chat in CHATS])
    return folder


@pytest.fixture(scope="session")
def tokenizer(world):
    return AutoTokenizer.from_pretrained(world / "tokenizer")


@pytest.fixture
def recipe(world) -> dict:
    """A new, tiny model."""
    return {
        "init": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        "tokenizer": str(world / "tokenizer"),
        "data": {str(world / "text.jsonl"): 1},
        "sequence_length": LENGTH,
        "steps": 6,
        "batch_size": 4,
        "learning_rate": 0.01,
        "dtype": "float32",
    }


@pytest.fixture(scope="session")
def base(world, tmp_path_factory) -> Path:
    """A model trained on text for a few steps."""
    folder = tmp_path_factory.mktemp("base") / ODD / "base"
    loop.train(
        folder,
        complete(
            {
                "init": {
                    "model_type": "llama",
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                },
                "tokenizer": str(world / "tokenizer"),
                "data": {str(world / "text.jsonl"): 1},
                "sequence_length": LENGTH,
                "steps": 20,
                "batch_size": 8,
                "learning_rate": 0.01,
            }
        ),
        threads=1,
        key="0123abcd",
    )
    return folder
