"""The same merge has the same bytes, whatever the threads, chunks and shards; and it stays small
and quick.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from langmerge.merging.engine import Merge
from langmerge.merging.passes.thresholds import SearchRange, Threshold
from langmerge.merging.recipe import read_recipe
from langmerge.merging.stream import Stream
from support.merging import (
    EMBEDDINGS,
    MERGE,
    NORM,
    PEAK,
    content,
    merged,
    recipe,
    run,
    shard_in_two,
    write_model,
)


def test_same_inputs_same_bytes_and_another_seed_other_bytes(folder):
    given = recipe("dare_ties", parameters={"density": 0.5})
    for output, seed in (("a", "1"), ("c", "2")):
        merged(given, output, "--seed", seed)
    # Another process has other hashes of strings.
    assert run(given, "b", "--seed", "1").returncode == 0
    assert content("a") == content("b")
    assert content("a")["model.safetensors"] != content("c")["model.safetensors"]


@pytest.mark.parametrize("method", ["dare_ties", "della", "breadcrumbs"])
def test_bytes_do_not_depend_on_shards(folder, method):
    given = recipe(method, parameters={"density": 0.5})
    whole = merged(given, "whole")
    shard_in_two(folder / "eu")
    shard_in_two(folder / "base")
    assert merged(given, "sources")
    assert content("whole")["model.safetensors"] == content("sources")["model.safetensors"]
    sharded = merged(given, "shards", "--max-shard-size", "20KB")
    assert set(sharded) == set(whole)
    for name, tensor in whole.items():
        np.testing.assert_array_equal(sharded[name], tensor)


DETERMINISTIC = {
    "dare_ties": {"density": 0.5},
    "dare_ties l1": {"density": 0.3, "rescale": "l1"},
    "dare_linear density": {"density": 0.3, "rescale": "density"},
    "della": {"density": 0.4},
    "della l1": {"density": 0.4, "rescale": True},
    "ties": {"density": 0.3},
    "ties l1": {"density": 0.3, "rescale": True},
    "breadcrumbs": {"density": 0.6, "gamma": 0.1},
    "breadcrumbs l1": {"density": 0.6, "rescale": "l1"},
    "slerp": {"t": 0.3},
    "linear": {},
}


@pytest.fixture(scope="module")
def larger(tmp_path_factory) -> Path:
    """Models in whose embeddings are several parts; bf16, so that many magnitudes are equal."""
    folder = tmp_path_factory.mktemp("larger")
    for seed, name in enumerate(["base", "instruct", "eu"]):
        write_model(folder / name, seed, ml_dtypes.bfloat16, hidden_size=64, vocab_size=9001, tie_word_embeddings=True)
    return folder


def deterministic(name: str) -> dict:
    """The recipe of one of DETERMINISTIC."""
    method = name.split()[0]
    if method == "slerp":
        given = {
            "merge_method": "slerp",
            "base_model": "instruct",
            "models": [{"model": "eu"}],
            "tokenizer_source": "instruct",
        }
        return {**given, "parameters": DETERMINISTIC[name]}
    return recipe(method, parameters=DETERMINISTIC[name])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_bytes_do_not_depend_on_threads_and_chunks(larger, tmp_path, monkeypatch, name):
    monkeypatch.chdir(larger)
    # (threads, weights in a batch, weights in a chunk, bytes of a tensor that may be merged in
    # memory); the last chunk size is no multiple of a tile, nor of a page
    streams = [
        (1, 2**20, 2**18, 0),
        (2, 2**20, 2**18, 2**27),
        (5, 2**20, 2**18, 2**20),
        (2, 2**17, 2**16, 0),
        (3, 2**15, 2**13, 2**27),
        (2, 2**18, 100_000, 2**27),
    ]
    written = set()
    for threads, batch, chunk, memory in streams:
        sizes = {"batch_size": batch, "chunk_size": chunk, "max_in_memory": memory}
        monkeypatch.setattr("langmerge.merging.engine.Stream", partial(Stream, **sizes))
        Merge(read_recipe(deterministic(name)), 3, 5 * 10**9).write(tmp_path / "out", threads, page_cache=False)
        written.add((tmp_path / "out" / "model.safetensors").read_bytes())
    assert len(written) == 1


def passes_of(monkeypatch) -> dict[str, list[str]]:
    """The passes over each tensor, in their order, of the merges from now on."""
    passes, scan_all, scan_sample = {}, Stream.scan_all, Stream.scan_sample

    def note(jobs, current):
        passes.setdefault(jobs[0].tensor.name, []).append(type(current).__name__)

    def noted_all(self, jobs, current, merged):
        note(jobs, current)
        return scan_all(self, jobs, current, merged)

    def noted_sample(self, jobs, current):
        note(jobs, current)
        return scan_sample(self, jobs, current)

    monkeypatch.setattr(Stream, "scan_all", noted_all)
    monkeypatch.setattr(Stream, "scan_sample", noted_sample)
    return passes


@pytest.mark.parametrize("memory", [0, 2**27])
@pytest.mark.parametrize("name", ["ties", "ties l1", "breadcrumbs"])
def test_a_misleading_sample_only_costs_time(larger, tmp_path, monkeypatch, name, memory):
    monkeypatch.chdir(larger)
    monkeypatch.setattr("langmerge.merging.engine.Stream", partial(Stream, max_in_memory=memory))
    norms = ["Norms"] if "l1" in name else []
    passes = passes_of(monkeypatch)
    Merge(read_recipe(deterministic(name)), 3, 5 * 10**9).write(tmp_path / "out", 2, page_cache=False)
    assert passes[EMBEDDINGS] == ["Sample", "Collect", *norms]
    assert passes[NORM] == ["Count", "Collect", *norms]
    passes.clear()
    misleading = SearchRange((0, 0), (2**15 - 1, 10**9), 0.01)
    monkeypatch.setattr(Threshold, "range_from_sample", lambda self, sample, size: misleading)
    Merge(read_recipe(deterministic(name)), 3, 5 * 10**9).write(tmp_path / "again", 2, page_cache=False)
    assert passes[EMBEDDINGS] == ["Sample", "Collect", "Count", "Collect", *norms]
    assert content(tmp_path / "out") == content(tmp_path / "again")


def test_bytes_do_not_depend_on_the_command_lines_threads(folder):
    given = recipe("dare_ties", parameters={"density": 0.5})
    for threads in "125":
        merged(given, threads, "--threads", threads)
    assert content("1") == content("2") == content("5")


def test_bytes_do_not_depend_on_vector_units(larger, tmp_path):
    """As on the oldest 64-bit processor of this kind: kernels compiled for it, numpy without what
    it chooses at run time.
    """
    numpys = " ".join(np._core._multiarray_umath.__cpu_dispatch__)
    oldest = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "NPY_DISABLE_CPU_FEATURES": numpys,
    }
    for name in ("ties l1", "slerp"):
        for output, environment in (("here", {}), ("oldest", {**oldest, "PYTHONWARNINGS": "ignore"})):
            command = [*MERGE, json.dumps(deterministic(name)), tmp_path / output]
            subprocess.run(command, cwd=larger, env={**os.environ, **environment}, check=True)
        assert content(tmp_path / "here") == content(tmp_path / "oldest")
    assert list(tmp_path.rglob("*.nbc")), "nothing was compiled again"


def test_shards_have_an_index_and_stay_below_their_size(folder):
    whole = merged(recipe(), "whole")
    merged(recipe(), "out", "--max-shard-size", "20KB")
    files = sorted(path.name for path in Path("out").glob("*.safetensors"))
    assert len(files) == 3
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    index = json.loads(Path("out/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in whole.values())
    assert sorted(set(index["weight_map"].values())) == files
    for file in files:
        assert sum(tensor.nbytes for tensor in load_file(Path("out", file)).values()) <= 20_000
    assert not Path("out/model.safetensors").exists()


def test_an_earlier_merge_is_replaced_whole(folder):
    merged(recipe(), "out", "--max-shard-size", "20KB")
    merged(recipe(), "out")
    assert len(list(Path("out").glob("*.safetensors*"))) == 1


def test_memory_does_not_grow_with_the_model(folder):
    small, large = peak_memory(20), peak_memory(200)
    assert abs(large - small) < 60 * 2**20


def peak_memory(tensors: int) -> int:
    """Bytes that the merge of two models of so many tensors of 2 MiB needs."""
    tensor = np.random.default_rng(0).normal(size=(1024, 512)).astype(np.float32)
    save_file({f"layer.{i}": tensor for i in range(tensors)}, "eu/model.safetensors")
    Path("instruct/model.safetensors").unlink()
    Path("instruct/model.safetensors").symlink_to("../eu/model.safetensors")
    done = subprocess.run([*PEAK, json.dumps(recipe()), "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path("out/model.safetensors").stat().st_size > tensors * 2**21
    return int(done.stdout) * 1024


def test_a_tiny_merge_takes_no_time(folder):
    """Hundreds of them run in the default run: nothing heavy may be imported but numba, and
    pyarrow, which likes to import pandas.
    """
    merged(recipe())
    command = [
        "-m",
        "langmerge",
        "merge",
        json.dumps(recipe()),
        "out",
        "--anatomy",
        "anatomy.parquet",
        "--anatomy-base",
        "base",
    ]
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True
    ).stderr
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in loaded.splitlines()}
    assert {"numpy", "pyarrow"} <= modules
    assert not modules & {"torch", "transformers", "pandas", "safetensors"}
