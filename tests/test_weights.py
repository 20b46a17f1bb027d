"""Which files a model's weights are in."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from langmerge.errors import UserError
from langmerge.weights import weight_files


def write_index(folder, **shards: str) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def test_one_file(tmp_path):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "pytorch_model.bin").touch()
    (tmp_path / "adapter.safetensors").touch()
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]


def test_shards(tmp_path):
    for name in ("b.safetensors", "a.safetensors", "other.safetensors"):
        (tmp_path / name).touch()
    write_index(tmp_path, x="b.safetensors", y="a.safetensors", z="b.safetensors")
    assert weight_files(tmp_path) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"b\.safetensors is missing, a shard"):
        weight_files(tmp_path)


@pytest.mark.parametrize("shard", ["model.safetensors", "model-00001-of-00001.safetensors", "missing.safetensors"])
def test_two_sets_are_refused_whatever_the_index_names(tmp_path, shard):
    for name in ("model.safetensors", "model-00001-of-00001.safetensors"):
        (tmp_path / name).touch()
    write_index(tmp_path, x=shard)
    with pytest.raises(UserError) as error:
        weight_files(tmp_path)
    assert f"{tmp_path} holds two sets of weights, model.safetensors and that of model.safetensors.index.json" in str(
        error.value
    )


def test_no_weights(tmp_path):
    with pytest.raises(UserError, match="there are no weights"):
        weight_files(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UserError, match=r"has only PyTorch weights \(pytorch_model.bin\)"):
        weight_files(tmp_path)


def test_it_costs_a_dry_run_nothing():
    code = "import sys, langmerge.weights; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
