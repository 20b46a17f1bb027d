"""`langmerge outlook`: a child of a base is told apart from what only looks like one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from langmerge.commands import outlook as command
from langmerge.errors import UserError
from langmerge.merging.outlook import CHILD, OTHER, PARTLY, PERMUTED, SAME, UNRELATED, outlook
from support.commands import call
from support.merging import EMBEDDINGS, HEAD, NORM, edit_tensors, write_model
from support.project import TINY_BACKBONE, TINY_RUN, Project

SHAPE = {"hidden_size": 64, "intermediate_size": 128}
"""Wide enough for rows that are independent to be seen to be."""

Tensors = dict[str, np.ndarray]


@pytest.fixture
def base(tmp_path) -> Path:
    folder = write_model(tmp_path / "base", 0, **SHAPE)
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.fixture
def child(base, tmp_path) -> Callable[[Callable[[Tensors], object]], Path]:
    """Makes a model that was trained a little from the base, and changed."""

    def make(change: Callable[[Tensors], object] = lambda tensors: None) -> Path:
        folder = Path(shutil.copytree(base, tmp_path / "instruct"))
        generator = np.random.default_rng(1)

        def trained(tensors: Tensors) -> None:
            for name, own in tensors.items():
                tensors[name] = own + generator.normal(size=own.shape).astype(own.dtype) * 0.01
            change(tensors)

        edit_tensors(folder, trained)
        (folder / "chat_template.jinja").write_text("{{ messages }}")
        return folder

    return make


def neurons(tensors: Tensors) -> None:
    """Reorder the neurons of every MLP: the model computes the same."""
    order = np.random.default_rng(2).permutation(128)
    for layer in range(2):
        for name in ("gate", "up"):
            key = f"model.layers.{layer}.mlp.{name}_proj.weight"
            tensors[key] = tensors[key][order]
        key = f"model.layers.{layer}.mlp.down_proj.weight"
        tensors[key] = np.ascontiguousarray(tensors[key][:, order])


def width(tensors: Tensors) -> None:
    """Reorder the hidden dimension of the whole model."""
    order = np.random.default_rng(3).permutation(64)
    for name, own in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")) or own.ndim == 1:
            tensors[name] = np.ascontiguousarray(own[order])
        else:
            tensors[name] = np.ascontiguousarray(own[:, order])


def test_a_child(base, child):
    found = outlook(base, child())
    assert found.verdict == CHILD
    assert found.notes == []
    assert all(0.97 < own.cosine < 1 for own in found.compared if own.is_matrix)
    assert all(0.05 < own.change < 0.2 and own.equal == 0 for own in found.compared if own.is_matrix)


def test_numbers_are_those_of_the_tensors_in_one_piece(base, child, monkeypatch):
    """Whatever the size of the parts that are read."""
    monkeypatch.setattr("langmerge.merging.sources.COMPARED", 100)
    folder = child(lambda tensors: tensors.update({NORM: load_file(base / "model.safetensors")[NORM]}))
    ours, theirs = (load_file(path / "model.safetensors") for path in (base, folder))
    for own in outlook(base, folder).compared:
        b, m = (tensors[own.tensor.name].astype(float).ravel() for tensors in (ours, theirs))
        norm = np.linalg.norm(b)
        expected = [norm, np.linalg.norm(m) / norm, b @ m / norm / np.linalg.norm(m), np.linalg.norm(m - b) / norm]
        assert [own.base_norm, own.norm, own.cosine, own.change] == pytest.approx(expected, rel=1e-5)
        assert own.equal == (own.tensor.name == NORM)


def test_an_unrelated_model_of_the_same_shape(base, tmp_path):
    found = outlook(base, write_model(tmp_path / "other", 9, **SHAPE))
    assert (found.verdict, found.moved) == (UNRELATED, 0)


@pytest.mark.parametrize("change", [neurons, width])
def test_reordered_neurons(base, child, change):
    found = outlook(base, child(change))
    assert (found.verdict, found.moved) == (PERMUTED, 1)


def test_the_same_model_twice(base, tmp_path):
    """As where an instruct model is named as its own base."""
    assert outlook(base, Path(shutil.copytree(base, tmp_path / "copy"))).verdict == SAME


def test_another_architecture(base, tmp_path):
    found = outlook(base, write_model(tmp_path / "other", 1, **{**SHAPE, "hidden_size": 32}))
    assert found.verdict == OTHER
    assert found.only


def test_one_part_from_elsewhere(base, child):
    """New matrices in one of two layers."""

    def replaced(tensors: Tensors) -> None:
        for name in tensors:
            if ".layers.1.mlp" in name:
                tensors[name] = np.random.default_rng(4).normal(size=tensors[name].shape).astype(np.float32)

    assert outlook(base, child(replaced)).verdict == PARTLY


def test_more_tokens(base, child):
    """The rows that both vocabularies have are compared."""

    def grown(tensors: Tensors) -> None:
        for name in (EMBEDDINGS, HEAD):
            tensors[name] = np.vstack([tensors[name], np.ones((6, 64), np.float32)])

    folder = child(grown)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 264}))
    found = outlook(base, folder)
    assert found.verdict == CHILD
    assert {own.tensor.name: own.tensor.shape for own in found.compared}[EMBEDDINGS] == (258, 64)


def test_names_that_may_be_exchanged(base, child):
    """Weights do not tell which model was first; chat templates may."""
    found = outlook(child(), base)
    assert found.verdict == CHILD
    assert "the two names may be exchanged" in found.notes[0]


def test_a_base_with_a_chat_template(base, child):
    folder = child()
    (base / "chat_template.jinja").write_text("{{ messages }}")
    (note,) = outlook(base, folder).notes
    assert note.startswith(f"{base} has a chat template")


def test_the_command(base, child, capsys):
    folder = child()
    call(command, "--base", base, "--instruct", folder)
    shown = capsys.readouterr().out
    assert "mlp.gate_proj" in shown
    assert shown.splitlines()[-1].startswith("Verdict: a child: trained from the base")
    with pytest.raises(SystemExit) as ended:
        call(command, "--base", folder, "--instruct", folder)
    assert ended.value.code == 1
    with pytest.raises(UserError, match="name a run, or both models"):
        call(command, "--base", base)


def test_the_models_of_a_run(base, child, tmp_path, monkeypatch, capsys):
    """Those of its backbones; and a new instruct model beside the run's base."""
    project = Project.new(tmp_path / "project", {**TINY_RUN, "tables": {}, "figures": {}})
    models = {"base": {"path": str(base)}, "instruct": {"path": str(base)}, "adapted": {"path": str(base)}}
    backbone = {key: value for key, value in TINY_BACKBONE.items() if key != "tokenizer"}
    project.write("backbones/tiny.yaml", {**backbone, "models": models})
    monkeypatch.chdir(project.folder)
    with pytest.raises(SystemExit):
        call(command, "config/config.yaml")
    assert "Verdict: the same model" in capsys.readouterr().out
    call(command, "config/config.yaml", "--instruct", child())
    assert "Verdict: a child" in capsys.readouterr().out
