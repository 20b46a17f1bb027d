"""What the tests of evaluation share: Basque's miniature world and a random model, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.tiny import make_model, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder with eu/ (Basque's corpus and tasks) and model/ (random, with a chat template)."""
    folder = tmp_path_factory.mktemp("world")
    make_world(folder / "eu")
    make_model(folder / "model", folder / "eu" / "corpus.jsonl")
    return folder
