"""`langmerge inspect`: what a merge would do with every weight, and what does not fit."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from langmerge.commands import inspect
from langmerge.errors import UserError
from support.merging import edit_tensors, recipe, write_model


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["base", "instruct", "eu"]):
        write_model(tmp_path / name, seed)
    return tmp_path


def run(*targets: str) -> None:
    parser = argparse.ArgumentParser()
    inspect.add_arguments(parser)
    inspect.run(parser.parse_args(targets))


def test_folders_that_fit(models, capsys):
    mask = {"model.layers.0.attn.bias": np.tril(np.ones((1, 1, 8, 8), bool))}
    edit_tensors(models / "eu", lambda tensors: tensors.update(mask))
    before = sorted(models.rglob("*"))
    run("instruct", "eu")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "instruct: llama, 21 tensors, 13,456 weights, 2 layers, float32, a head of its own"
    assert lines[1:3] == [
        lines[0].replace("instruct: llama, 21 tensors, 13,456", "eu: llama, 22 tensors, 13,520"),
        "  fits instruct",
    ]
    assert [line.split() for line in lines[3:]] == [
        ["instruct,", "of", "what", "its", "files", "hold:"],
        ["21", "tensors", "13,456", "weights", "merged"],
        ["eu,", "of", "what", "its", "files", "hold:"],
        ["21", "tensors", "13,456", "weights", "merged"],
        ["1", "tensors", "64", "weights", "left", "out:", "computed", "when", "the", "model", "is", "loaded"],
    ]
    assert sorted(models.rglob("*")) == before


def test_every_model_that_does_not_fit_is_named(models, capsys):
    shutil.rmtree("base")
    write_model(models / "base", 0, model_type="mistral")
    edit_tensors(models / "eu", lambda tensors: tensors.pop("model.norm.weight"))
    with pytest.raises(SystemExit) as ended:
        run("instruct", "eu", "base", "nowhere")
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert "  does not fit instruct: model.norm.weight [16] is in instruct/model.safetensors but not in eu" in shown
    assert "  does not fit instruct: model_type is 'mistral' in base/config.json" in shown
    assert "nowhere: cannot be read\n  nowhere: no such model folder" in shown


def test_a_recipe(models, capsys):
    Path("recipe.yaml").write_text(json.dumps(recipe("ties")))
    run("recipe.yaml")
    assert capsys.readouterr().out.count("13,456 weights  merged") == 3
    with pytest.raises(SystemExit):
        run(json.dumps({**recipe("linear"), "tokenizer_source": "eu", "special_tokens": "eu"}))
    assert "The merge is refused: eu/tokenizer.json has no added_tokens" in capsys.readouterr().out
    with pytest.raises(UserError, match="name one recipe, or any number of model folders"):
        run("instruct", "{}")
