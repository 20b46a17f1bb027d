"""Publishing a merge one of whose models is another merge of the run."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from langmerge.commands import merge, publish
from langmerge.errors import UserError
from langmerge.evaluation.sealed import read_sealed
from langmerge.grid import arguments
from langmerge.grid.grid import read_run
from support.commands import call
from support.publishing import ADAPTED, CELL, backbone_of, finish, publishable

TWICE = "twice/linear/eu/w0.25"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A run with a merge into a merge, evaluated."""
    made = publishable(tmp_path_factory.mktemp("run") / "project")
    own = backbone_of(made)
    made.write("backbones/twice.yaml", {**own, "models": {**own["models"], "instruct": {"model": CELL}}})
    task = {"task": "mini_grammar_{language}", "measure": "benchmark", "metric": "acc", "models": ["merges"]}
    made.configure(backbones=["tiny", "twice"], weights=[0.25], tasks=[task])
    with chdir(made.folder):
        grid = read_run("config/config.yaml")
        call(merge, *arguments.merge(grid, grid.models[CELL]), grid.layout.kept(CELL))
    finish(made)
    return made


def test_a_merge_of_a_merge_is_published(project):
    with chdir(project.folder):
        call(publish, "config/config.yaml", "--cell", TWICE, "--threads", 1)
    folder = project.folder / "results/tiny/published" / TWICE
    (result,) = (project.folder / "results/tiny/scores" / TWICE).glob("*.json")
    record = json.loads((folder / "langmerge.json").read_text())
    assert record["merged_sha256"] == read_sealed(result)["merged_sha256"]
    recipe = yaml.safe_load((folder / "mergekit_config.yml").read_text())
    assert [entry["model"] for entry in recipe["models"]] == ["twice-instruct", ADAPTED]
    card = ModelCard.load(folder / "README.md")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in card.text.splitlines() if line.startswith("| ")
    ]
    models = {row[1]: row[2] for row in rows[1:] if len(row) == 4}
    assert list(models)[:3] == ["twice-instruct", ADAPTED, "tiny-instruct"]
    assert models["twice-instruct"] == (
        f"a merge of tiny-instruct, {ADAPTED} with langmerge, `linear` with w = 0.25; not on the hub"
    )
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == [ADAPTED]
    texts = [path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix != ".safetensors"]
    assert not [text for text in texts if "results/" in text or "models of mine" in text]
    assert (folder / "LICENSE").read_text() == (project.folder / "models of mine/instruct/LICENSE").read_text()


def test_the_licences_of_all_models_must_agree(project):
    """That of the model that the first merge was made from, too."""
    card = Path(project.folder, "models of mine/instruct/README.md")
    card.write_text("---\nlicense: gemma\n---\n\nA model.\n")
    with chdir(project.folder), pytest.raises(UserError, match=r"gemma: .*tiny-instruct"):
        call(publish, "config/config.yaml", "--cell", TWICE, "--threads", 1, "--output", "other")
