"""Models with a skill beside those of languages (`extra`), and weights by module and layer."""

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

NAMES = ("base", "instruct", "eu", "maths")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return shaped_models(tmp_path_factory.mktemp("models"), NAMES)


@pytest.fixture
def grid(models, tmp_path, config):
    """Makes the grid of a run whose only method is the given one."""
    folder = shutil.copytree(ROOT / "config", tmp_path / "config")

    def make(method: dict, weight: float = 0.5, extras: tuple[str, ...] = ("maths",)) -> Grid:
        sources = {name: {"path": str(models / name)} for name in ("base", "instruct")}
        sources["adapted"] = {"path": str(models / "{language}")}
        if extras:
            sources["extra"] = {name: {"path": str(models / "maths")} for name in extras}
        backbone = {"dtype": "float32", "models": sources}
        (folder / "backbones" / "own.yaml").write_text(yaml.safe_dump(backbone))
        run = {**config, "backbones": ["own"], "languages": ["eu"], "methods": {"own": method}, "keep": []}
        run |= {
            "experiments": {"one": {"methods": ["own"], "weights": {"each": [weight]}}},
            "tables": {},
            "figures": {},
        }
        return Grid(run, Folders(folder), source="config/config.yaml")

    return make


def recipe_of(grid: Grid) -> dict:
    (merge,) = grid.expansion.merges
    return grid.recipes.merge(merge)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(path / "model.safetensors").items()}


def test_the_task_vector_of_an_extra_is_added(grid, models, tmp_path):
    recipe = recipe_of(grid({"merge_method": "task_arithmetic", "extra": {"maths": 0.25}}))
    CellWeights(recipe, 1, "key", 1, None).open().write(tmp_path / "merged", 1, True)
    merged = weights_of(tmp_path / "merged")
    base, instruct, eu, maths = (weights_of(models / name) for name in NAMES)
    for name, found in merged.items():
        expected = instruct[name] + 0.5 * (eu[name] - base[name]) + 0.25 * (maths[name] - base[name])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_weights_by_module(grid, models, tmp_path):
    """The language in the MLP only, growing with the layer; the rest is the instruct model's."""
    by_module = [{"filter": "mlp", "value": [0, "w"]}, {"value": 0}]
    recipe = recipe_of(grid({"merge_method": "task_arithmetic", "language_weight": by_module}))
    CellWeights(recipe, 1, "key", 1, None).open().write(tmp_path / "merged", 1, True)
    merged = weights_of(tmp_path / "merged")
    base, instruct, eu, _ = (weights_of(models / name) for name in NAMES)
    changed = set()
    for name, found in merged.items():
        weight = 0.5 if "mlp" in name and ".layers.1." in name else 0
        torch.testing.assert_close(found, instruct[name] + weight * (eu[name] - base[name]), rtol=1e-5, atol=1e-6)
        if weight:
            changed.add(name)
    assert len(changed) == 3


def test_formulas_within_gradients_and_filters(grid):
    value = [{"filter": "self_attn", "value": "w"}, {"value": [0, "1-nw", 1]}]
    recipe = recipe_of(grid({"merge_method": "linear", "instruct_weight": value}, weight=0.25))
    assert recipe["models"][0]["parameters"]["weight"] == [
        {"filter": "self_attn", "value": 0.25},
        {"value": [0, 0.75, 1]},
    ]
    with pytest.raises(UserError, match=r"methods\.own: 1-nw is -0\.5"):
        grid({"merge_method": "linear", "instruct_weight": value}, weight=1.5)


def test_an_extra_may_have_parameters_of_its_own(grid):
    for density, expected in (
        ({"instruct": 1, "language": 0.5, "extra": 0.2}, [1, 0.5, 0.2]),
        ({"instruct": 1, "language": 0.5}, [1, 0.5, 0.5]),
    ):
        method = {"merge_method": "ties", "extra": {"maths": "w"}, "parameters": {"density": density}}
        recipe = recipe_of(grid(method))
        assert [entry["parameters"]["density"] for entry in recipe["models"]] == expected
        assert [entry["parameters"]["weight"] for entry in recipe["models"]] == [1, 0.5, 0.5]


def test_an_extra_is_a_model_of_the_run_that_is_not_evaluated(grid):
    method = {"merge_method": "task_arithmetic", "extra": {"maths": 0.25}}
    run = grid(method, extras=("maths", "unused"))
    extra = Model("own", "extra", ("maths",))
    assert [model for model in run.models.values() if model.method == "extra"] == [extra]
    assert extra in run.recipes.parents(run.expansion.merges[0])
    assert extra not in {result.model for result in run.results}
    assert "maths" in run.recipes.roles(run.expansion.merges[0]).values()


def test_the_identity_of_a_cell_follows_its_extras(grid, models):
    def key(weight: float, path: Path) -> str:
        run = grid({"merge_method": "task_arithmetic", "extra": {"maths": weight}})
        return run.identity.model_key(run.expansion.merges[0])

    before = key(0.25, models)
    assert key(0.5, models) != before
    changed = models / "maths" / "config.json"
    content = changed.read_text()
    try:
        changed.write_text(content.replace("512", "1024"))
        assert key(0.25, models) != before
    finally:
        changed.write_text(content)
    assert key(0.25, models) == before


def test_an_extra_that_is_not_there(grid):
    method = {"merge_method": "task_arithmetic", "extra": {"math": 0.25}}
    with pytest.raises(UserError, match=r"methods\.own\.extra\.math: .*own\.yaml has no model of this name .* 'maths'"):
        grid(method)


def test_weights_for_a_method_that_has_none(grid):
    for key, value in (("instruct_weight", 0.5), ("language_weight", "w"), ("extra", {"maths": 1})):
        with pytest.raises(UserError, match=rf"methods\.own\.{key}: model_stock has no weights of models"):
            grid({"merge_method": "model_stock", key: value})


@pytest.mark.parametrize(
    "value", ["2w", [{"filter": "mlp"}], [{"filter": "mlp", "value": "2w"}], ["w", {"value": 1}], [], [[1]]]
)
def test_values_that_are_none(grid, value):
    with pytest.raises(UserError, match=r"methods\.own\.language_weight"):
        grid({"merge_method": "linear", "language_weight": value})
