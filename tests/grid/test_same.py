"""A model of a backbone that is another model of the run, such as a cell: merges of merges."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from langmerge.errors import UserError
from langmerge.grid.folders import Folders
from langmerge.grid.grid import Grid
from langmerge.live.weights import CellWeights
from langmerge.model import Model
from support.paths import ROOT
from support.shaped import shaped_models

NAMES = ("base", "instruct", "eu", "gl")
FIRST = "first/own/{language}/w0.25"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return shaped_models(tmp_path_factory.mktemp("models"), NAMES)


@pytest.fixture
def grid(models, tmp_path, config, monkeypatch):
    """Makes the grid of a run with two backbones, of which the second has these models."""
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(ROOT / "config", tmp_path / "config")

    def make(second: dict[str, dict], weights: tuple[float, ...] = (0.25,), method: str = "task_arithmetic") -> Grid:
        first = {name: {"path": str(models / name)} for name in ("base", "instruct")}
        first["adapted"] = {"path": str(models / "{language}")}
        for name, sources in (("first", first), ("second", first | second)):
            (folder / "backbones" / f"{name}.yaml").write_text(yaml.safe_dump({"dtype": "float32", "models": sources}))
        experiments = {"one": {"methods": ["own"], "weights": {"each": [*weights]}}}
        run = {**config, "backbones": ["first", "second"], "languages": ["eu", "gl"], "keep": [], "results": "results"}
        run |= {"methods": {"own": {"merge_method": method}}, "experiments": experiments, "tables": {}, "figures": {}}
        return Grid(run, Folders(folder), source="config/config.yaml")

    return make


def cell(backbone: str, language: str) -> Model:
    return Model(backbone, "own", (language,), 0.25)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(path / "model.safetensors").items()}


def merge(run: Grid, model: Model, output: Path) -> dict[str, torch.Tensor]:
    output.parent.mkdir(parents=True, exist_ok=True)
    CellWeights(run.recipes.merge(model), 1, run.identity.model_key(model), 1, None).open().write(output, 1, True)
    return weights_of(output)


def test_a_merge_of_a_merge(grid, models, tmp_path):
    """Galician into the instruct model that has Basque."""
    run = grid({"instruct": {"model": "first/own/eu/w0.25"}})
    kept = run.layout.kept("first/own/eu/w0.25")
    (job,) = [job for job in run.jobs if job.rule == "keep"]
    assert job.outputs == (kept,)
    readers = [job for job in run.jobs.by_result() if kept in job.inputs]
    assert {job.model for job in readers} == {Model("second", "instruct"), cell("second", "eu"), cell("second", "gl")}
    merge(run, cell("first", "eu"), kept)
    merged = merge(run, cell("second", "gl"), tmp_path / "merged")
    base, instruct, eu, gl = (weights_of(models / name) for name in NAMES)
    for name, found in merged.items():
        expected = instruct[name] + 0.25 * (eu[name] - base[name]) + 0.25 * (gl[name] - base[name])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_it_is_known_by_what_the_other_model_is_known_by(grid):
    run = grid({"adapted": {"model": FIRST}, "base": {"model": "first/base/none/w0"}})
    key, second = run.identity.model_key, Model("second", "adapted", ("gl",))
    assert key(second) == key(cell("first", "gl"))
    assert run.layout.model(Model("second", "base")) == run.layout.model(Model("first", "base"))
    assert [job.outputs[0] for job in run.jobs if job.rule == "keep"] == [
        run.layout.kept(f"first/own/{code}/w0.25") for code in ("eu", "gl")
    ]
    before = key(cell("first", "gl")), key(cell("second", "gl"))
    other = grid({"adapted": {"model": FIRST}}, method="linear")
    assert other.identity.model_key(cell("first", "gl")) != before[0]
    assert other.identity.model_key(second) == other.identity.model_key(cell("first", "gl"))


@pytest.mark.parametrize(
    ("models_of_second", "message"),
    [
        (
            {"instruct": {"model": "first/own/eu/w0.5"}},
            r"instruct\.model: first/own/eu/w0\.5 is not a model of this run",
        ),
        ({"instruct": {"model": "first/own/eu"}}, r"instruct\.model: 'first/own/eu' is not the id of a model"),
        (
            {"instruct": {"model": "second/own/eu/w0.25"}},
            r"second/own/eu/w0\.25 is made from second/instruct/none/w0 its",
        ),
        ({"base": {"model": "second/instruct/none/w0"}, "instruct": {"model": "second/base/none/w0"}}, r"itself"),
        ({"instruct": {"model": FIRST}}, r"\{language\}"),
        (
            {"instruct": {"model": "first/base/none/w0", "path": "x"}},
            r"path and model .*expected one of path, hub, train",
        ),
    ],
)
def test_what_is_refused(grid, models_of_second, message):
    with pytest.raises(UserError, match=message):
        grid(models_of_second)
