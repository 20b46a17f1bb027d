"""Shared by the tests of fetching: a local hub with a run's models and data set."""

from __future__ import annotations

import pytest

from support.hub import Repository, running_hub
from support.hub_run import QUIZ, QUIZ_COMMIT, Work
from support.merging import write_model


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """The files of two real small models, and of what else repositories of models hold."""
    folder = tmp_path_factory.mktemp("models")
    made = {name: write_model(folder / name, seed) for seed, name in enumerate(["small-instruct", "small-eu"])}
    extra = {
        "pytorch_model.bin": b"pickle",
        "original/model.safetensors": b"again",
        "consolidated.safetensors": b"again",
        "langmerge.json": b"the record of a merge that somebody published",
        "README.md": b"A model.",
    }
    return {name: {path.name: path.read_bytes() for path in made[name].iterdir()} | extra for name in made}


@pytest.fixture
def hub(models):
    with running_hub() as hub:
        for name, files in models.items():
            hub.repositories[f"models/lab/{name}"] = Repository(dict(files))
        hub.repositories["datasets/lab/quiz"] = Repository(dict(QUIZ), commit=QUIZ_COMMIT)
        yield hub


@pytest.fixture
def work(tmp_path, hub) -> Work:
    return Work(tmp_path / 'it\'s a "földer"', hub)
