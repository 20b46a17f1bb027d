"""What `langmerge merge --anatomy` writes, against numpy on whole tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from langmerge.merging.anatomy import Anatomy, write_anatomy
from langmerge.merging.tensors import Chunk, TensorInfo
from langmerge.model import Model
from langmerge.reporting.anatomy import grouped, read_anatomies
from langmerge.reporting.sources import Anatomy as MergeAnatomy
from support.merging import recipe, run_here, write_model


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "base", 0)
    base = load_file("base/model.safetensors")
    for seed, name in enumerate(["instruct", "eu"], start=1):
        write_model(tmp_path / name, seed)
        generator = np.random.default_rng(seed)
        near = {
            key: (value + 0.01 * generator.normal(size=value.shape)).astype(np.float32) for key, value in base.items()
        }
        save_file(near, tmp_path / name / "model.safetensors", {"format": "pt"})
    return tmp_path


def examined(given, *options) -> pd.DataFrame:
    assert run_here(given, "out", "--anatomy", "deep/anatomy.parquet", *options) == ""
    return pd.read_parquet("deep/anatomy.parquet").set_index(["tensor", "model"])


def test_numbers_are_those_of_whole_tensors(folder):
    rows = examined(recipe("ties", weights=(1, 0.5), parameters={"density": 0.3}))
    base, instruct, eu, merged = (load_file(f"{name}/model.safetensors") for name in ("base", "instruct", "eu", "out"))
    assert len(rows) == 3 * len(base)
    for name in ("model.layers.1.mlp.up_proj.weight", "lm_head.weight", "model.norm.weight"):
        vectors = {
            "instruct": instruct[name] - base[name],
            "eu": eu[name] - base[name],
            "merged": merged[name] - base[name],
        }
        first = vectors["instruct"].astype(float)
        for model, vector in vectors.items():
            row, vector = rows.loc[name, model], vector.astype(float)
            assert row.norm == pytest.approx(np.linalg.norm(vector), rel=1e-5)
            assert row.base_norm == pytest.approx(np.linalg.norm(base[name]), rel=1e-5)
            assert row.cosine == pytest.approx(
                (vector * first).sum() / np.linalg.norm(vector) / np.linalg.norm(first), abs=1e-5
            )
            assert row.conflicts == pytest.approx((vector * first < 0).mean(), abs=1e-12)
            assert row["size"] == row.examined == vector.size
        assert rows.loc[name, "eu"].kept == int(0.3 * vector.size) / vector.size
    assert rows.loc["model.layers.1.mlp.up_proj.weight", "eu"].layer == 1
    assert rows.loc["model.layers.1.mlp.up_proj.weight", "eu"].module == "mlp.up_proj"
    assert np.isnan(rows.loc["lm_head.weight", "eu"].layer)


def test_a_method_without_a_base_is_told_one(folder):
    with_base = examined(recipe("task_arithmetic"))
    linear = examined(recipe("linear"), "--anatomy-base", "base")
    for model in ("instruct", "eu"):
        pd.testing.assert_frame_equal(linear.xs(model, level=1), with_base.xs(model, level=1))
    assert (linear.xs("merged", level=1).norm < with_base.xs("merged", level=1).norm).all()
    assert examined(recipe("linear")).empty


def test_a_swap_is_compared_with_instruct_whatever_its_base(folder):
    given = {"merge_method": "nearswap", "base_model": "instruct", "models": [{"model": "instruct"}, {"model": "eu"}]}
    rows = examined({**given, "parameters": {"t": 10}, "tokenizer_source": "instruct"}, "--anatomy-base", "base")
    expected = examined(recipe("task_arithmetic"))
    np.testing.assert_allclose(rows.xs("eu", level=1).cosine, expected.xs("eu", level=1).cosine)
    # t so large takes the language model's weights
    np.testing.assert_allclose(rows.xs("merged", level=1).norm, expected.xs("eu", level=1).norm, rtol=1e-5)


def test_of_large_tensors_part_of_every_sixteenth_chunk_is_examined():
    anatomy = Anatomy(TensorInfo("x", (1000,)), ["instruct"], "instruct", None, {})
    assert [index for index in range(64) if anatomy.part(Chunk(index, 0, 1), 64)] == [0, 16, 32, 48]
    assert all(anatomy.part(Chunk(index, 0, 1), 7) for index in range(7))
    assert anatomy.part(Chunk(0, 5, 2**18), 64) == Chunk(0, 5, 2**16)
    assert anatomy.part(Chunk(0, 0, 2**18), 1) == Chunk(0, 0, 2**18)


def test_reports_read_what_merges_write(folder):
    anatomies = []
    for weight in (0.5, 1.0):
        for method, options in (("linear", ("--anatomy-base", "base")), ("task_arithmetic", ())):
            examined(recipe(method, weights=(1, weight)), *options)
            path = folder / f"{method}-{weight}.parquet"
            Path("deep/anatomy.parquet").rename(path)
            model = Model("tiny", method, ("eu",), weight)
            anatomies.append(MergeAnatomy(path, model, {"instruct": "instruct", "eu": "eu"}))
    rows = read_anatomies(anatomies)
    distance = grouped(rows, ["model", "method", "weight"]).loc["merged"].distance
    # Task arithmetic moves (1, w) along two vectors of one length at a right angle; linear, a (1 +
    # w)-th of that.
    for weight in (0.5, 1.0):
        assert distance["task_arithmetic", weight] == pytest.approx(np.hypot(1, weight), rel=0.03)
        assert distance["linear", weight] == pytest.approx(np.hypot(1, weight) / (1 + weight), rel=0.03)


def test_what_a_killed_process_has_left_is_removed(tmp_path):
    left = tmp_path / ".w1.parquet.partial-1"
    left.write_bytes(b"")
    other = tmp_path / ".w2.parquet.partial-1"
    other.write_bytes(b"")
    write_anatomy(tmp_path / "w1.parquet", [], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "w1.parquet"]
