"""Which model a folder holds: its key by content; folders with another one or two are refused."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import pytest

from langmerge.commands import evaluate
from langmerge.errors import UserError
from langmerge.evaluation.modelfiles import check_model, files_key

FILES = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "vocab.txt",
]


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder with the names of a model's files; what is in them does not matter here."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(name)
    return folder


def change(path: Path) -> None:
    path.write_text(path.read_text()[:-1] + "!")


@pytest.mark.parametrize("name", FILES)
def test_the_key_follows_the_content_of_each_file(model, name):
    before = files_key(model)
    change(model / name)
    assert files_key(model) != before


def test_the_key_follows_every_shard(model):
    (model / "model.safetensors").rename(model / "model-1-of-2.safetensors")
    (model / "model-2-of-2.safetensors").write_text("more")
    weights = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    before = files_key(model)
    change(model / "model-2-of-2.safetensors")
    assert files_key(model) != before


def test_the_key_of_pytorch_weights(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    before = files_key(model)
    change(model / "pytorch_model.bin")
    assert files_key(model) != before


def test_the_key_does_not_depend_on_dates_names_of_folders_and_other_files(model, tmp_path):
    before = files_key(model)
    os.utime(model / "model.safetensors", (1, 1))
    (model / "README.md").write_text("notes")
    (model / "langmerge.json").write_text('{"key": "k"}')
    moved = tmp_path / "añother [x]"
    shutil.copytree(model, moved)
    assert files_key(model) == files_key(moved) == before


def test_two_sets_of_weights_are_refused(model):
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}))
    for ask in (files_key, lambda folder: check_model(folder, "k")):
        with pytest.raises(UserError, match=r"holds two sets of weights.*Delete"):
            ask(model)


def test_two_sets_of_pytorch_weights_are_refused(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    (model / "pytorch_model.bin.index.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds two sets of weights.*Delete"):
        files_key(model)


def test_pytorch_weights_beside_safetensors_are_not_loaded_and_not_hashed(model):
    before = files_key(model)
    (model / "pytorch_model.bin").write_text("the same weights in another format")
    assert files_key(model) == before


@pytest.mark.parametrize("record", [None, {}, {"key": "k"}])
def test_a_model_with_the_expected_key_or_none_is_accepted(model, record):
    if record is not None:
        (model / "langmerge.json").write_text(json.dumps(record))
    check_model(model, "k")
    check_model(model, None)


def options(model: Path, out: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return parser.parse_args([str(model), str(out / "r.json"), "--tasks", "[]", *more])


def test_the_command_refuses_another_model_than_the_expected_one(model, tmp_path):
    (model / "langmerge.json").write_text('{"key": "old"}')
    with pytest.raises(UserError, match=r"holds the model old .*expected new .*Delete the folder"):
        evaluate.run(options(model, tmp_path, "--key", "new"))
    assert not (tmp_path / "r.json").exists()
    evaluate.run(options(model, tmp_path, "--key", "new", "--given"))
    assert (tmp_path / "r.json").exists()


def test_the_command_refuses_a_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.json"):
        evaluate.run(options(tmp_path, tmp_path))
    assert not (tmp_path / "r.json").exists()
