"""From a run to a published model on the hub, and from the hub into a run: Snakemake makes and
evaluates both.
"""

from __future__ import annotations

import gzip
import os
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from transformers import pipeline

from langmerge.commands import publish
from langmerge.evaluation.sealed import read_sealed
from langmerge.reporting.samples import answers_file
from support.commands import call
from support.hub import Hub, running_hub
from support.hub_run import CHANGED, using
from support.project import TINY_BACKBONE, Project

pytestmark = pytest.mark.workflow

CELL, BACK = "tiny/linear/eu/w1", "back/instruct/none/w0"
NAME = "lab/tiny-basque"
QUESTION = "Who are you?"

BACKBONE = {
    "label": "There and back",
    "dtype": TINY_BACKBONE["dtype"],
    "models": {"instruct": {"hub": NAME}},
    "backend": TINY_BACKBONE["backend"],
}


@pytest.fixture
def hub():
    with running_hub() as hub:
        yield hub


@pytest.fixture
def project(finished: Project, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the finished run, whose Snakemake knows only this hub."""
    for name in [name for name in os.environ if name.startswith(CHANGED)]:
        monkeypatch.delenv(name)
    for name, value in {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "no_proxy": "*"}.items():
        monkeypatch.setenv(name, value)
    return finished.copy(tmp_path / "project")


def scores_and_answers(project: Project, id: str) -> list[tuple[dict, bytes]]:
    """What a model has scored in Basque, and what it has answered."""
    (path,) = project.results(f"scores/{id}/eu.*.json")
    names = ("task", "seed", "value", "stderr", "n", "parts", "diagnostics")
    found = []
    for score in read_sealed(path)["scores"]:
        (answers,) = project.results(f"samples/{id}/{answers_file(score)}")
        found.append(({name: score[name] for name in names}, gzip.decompress(answers.read_bytes())))
    return found


def conversation(folder: Path) -> str:
    """What a model says to QUESTION through its chat template. It has learned little, so an answer
    is drawn.
    """
    chat = pipeline("text-generation", str(folder), dtype="float32")
    torch.manual_seed(1)
    return chat([{"role": "user", "content": QUESTION}], max_new_tokens=12, do_sample=True)[0]["generated_text"][-1][
        "content"
    ]


def test_there_and_back_again(project, hub, tmp_path):
    """A merge of the finished run is published, loaded, asked, uploaded, fetched and evaluated
    again.
    """
    with chdir(project.folder), using(hub.url, tmp_path, hub.token):
        call(publish, "config/config.yaml", "--cell", CELL, "--license", "apache-2.0", "--upload", NAME)
    published = project.folder / "results/tiny/published" / CELL
    answer = conversation(published)
    assert answer.strip()
    assert hub.commits == [(f"models/{NAME}", sorted(path.name for path in published.iterdir()))]
    project.write("backbones/back.yaml", BACKBONE)
    project.configure(backbones=["back"], experiments={}, tables={}, figures={})
    assert project.run(project.mark(BACK)).jobs == {"fetch": 1, "evaluate": 1}
    (fetched,) = (project.folder / "results/cache/models").iterdir()
    assert (fetched / "model.safetensors").read_bytes() == (published / "model.safetensors").read_bytes()
    assert conversation(fetched) == answer
    found, expected = scores_and_answers(project, BACK), scores_and_answers(project, CELL)
    assert len(found) == 3
    assert found == expected
    assert expected != scores_and_answers(project, "tiny/instruct/none/w0")
