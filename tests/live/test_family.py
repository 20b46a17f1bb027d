"""Cells that are merged in the memory of one engine: the answers are those of their checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from langmerge.errors import UserError
from langmerge.evaluation import backends
from langmerge.evaluation.engines.replacing import replace_weights
from langmerge.evaluation.sealed import read_sealed
from langmerge.live.batch import BatchFile
from langmerge.live.family import Family
from langmerge.live.recipes import write_recipes
from langmerge.live.weights import CellWeights
from langmerge.merging.engine import Merge
from support.batches import CELLS, batch, files, given
from support.merging import HEAD, edit_tensors
from support.shaped import shaped_model

KILLS = int(os.environ.get("LANGMERGE_KILLS", "4"))


def test_parts_answers_and_anatomies_are_those_of_checkpoints(parents, tasks, tmp_path, monkeypatch):
    addresses = []
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    Family(batch(parents, tasks, disk, in_memory=False), threads=2).run()
    family = Family(batch(parents, tasks, memory, in_memory=True), threads=2)
    merged = family.merged

    def watched(model):
        lm = merged(model)
        addresses.append([weight.data_ptr() for weight in lm.engine.model.state_dict(keep_vars=True).values()])
        return lm

    monkeypatch.setattr(family, "merged", watched)
    family.run()
    expected = files(disk, "scores", "samples", "anatomy")
    found = files(memory, "scores", "samples", "anatomy")
    assert {*found} == {*expected}
    results = {name for name in expected if name.endswith("eu.json")}
    assert len(results) == len(CELLS)
    assert {name: found[name] for name in expected if name not in results} == {
        name: expected[name] for name in expected if name not in results
    }
    for name in results:
        ours, theirs = read_sealed(memory / name), read_sealed(disk / name)
        digests = ours.pop("merged_sha256")
        assert ours == theirs
        weights = disk / "models" / Path(name).relative_to("scores").parent / "model.safetensors"
        assert digests == {"model.safetensors": hashlib.sha256(weights.read_bytes()).hexdigest()}
    # No weight has moved, and the cells differ.
    assert len(addresses) >= len(CELLS)
    assert all(own == addresses[0] for own in addresses)
    assert len({content for name, content in found.items() if "mini_ifeval" in name}) > len(CELLS)
    assert not [path for path in memory.rglob("*") if path.suffix == ".safetensors" or path.name.startswith("check-")]


# ---- one architecture is enough for the rest


def test_a_merge_that_differs_from_the_file_fails_the_job(llamas, tasks, tmp_path, monkeypatch):
    write = Merge.write

    def broken(merge, output, *arguments, **options):
        write(merge, output, *arguments, **options)
        weights = output / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    monkeypatch.setattr(Merge, "write", broken)
    with pytest.raises(UserError, match=r"tiny/linear/eu/w0.25: merged in memory.*`merges: disk`"):
        Family(batch(llamas, tasks, tmp_path, in_memory=True), threads=1).run()
    assert not [*tmp_path.glob("scores/**/*.json")]
    assert not [*tmp_path.glob("batches/*/check-*")]


def test_one_cell_that_cannot_be_merged_leaves_the_others(llamas, tasks, tmp_path):
    file = batch(llamas, tasks, tmp_path, in_memory=True)
    content = json.loads(file.read_text())
    content["models"][1]["making"]["recipe"]["models"][1]["parameters"]["weight"] = 1e39
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"1 of 6 models failed:\n  tiny/linear/eu/w0.5: "):
        Family(file, threads=1).run()
    assert len([*tmp_path.glob("scores/**/eu.json")]) == len(CELLS) - 1


def test_a_result_whose_tasks_are_done_needs_no_engine(llamas, tasks, tmp_path):
    file = batch(llamas, tasks, tmp_path, in_memory=True)
    Family(file, threads=1).run()
    before = files(tmp_path, "scores", "samples")
    for path in tmp_path.glob("scores/**/eu.json"):
        path.unlink()
    family = Family(file, threads=1)
    family.run()
    assert family.loaded is None
    assert files(tmp_path, "scores", "samples") == before


def test_a_lost_anatomy_is_made_again_alone(llamas, tasks, tmp_path):
    file = batch(llamas, tasks, tmp_path, in_memory=True)
    Family(file, threads=1).run()
    before = files(tmp_path, "scores", "samples", "anatomy")
    (tmp_path / "anatomy" / "linear/eu/w1.parquet").unlink()
    Family(file, threads=1).run()
    assert files(tmp_path, "scores", "samples", "anatomy") == before


def test_recipes_are_written_before_anything_is_computed(llamas, tasks, tmp_path):
    write_recipes(BatchFile.read(batch(llamas, tasks, tmp_path, in_memory=True)))
    for name in CELLS:
        assert yaml.safe_load((tmp_path / "recipes" / f"{name}.yaml").read_text()) == given(llamas, name)
    assert not (tmp_path / "scores").exists()


def test_models_that_do_not_fit_are_refused_with_the_recipes(llamas, tasks, tmp_path):
    shaped_model(tmp_path / "parents" / "eu", "qwen3", 0)
    for name in ("base", "instruct"):
        (tmp_path / "parents" / name).symlink_to(llamas / name)
    file = batch(tmp_path / "parents", tasks, tmp_path, in_memory=True)
    with pytest.raises(UserError, match=r"model_type is 'qwen3'.*'llama'"):
        write_recipes(BatchFile.read(file))


def test_a_tied_model_with_a_trained_head(tmp_path):
    """Its merge is untied: another kind of model than the one in memory."""
    for seed, name in enumerate(("base", "instruct", "eu")):
        shaped_model(tmp_path / name, "qwen3", seed)
    edit_tensors(tmp_path / "instruct", lambda own: own.update({HEAD: own["model.embed_tokens.weight"] + 1}))
    weights = CellWeights(given(tmp_path, "linear/eu/w0.5"), 1, "key", 1, None)
    with pytest.raises(
        UserError, match=r"another configuration or tokenizer \(tie_word_embeddings: False\).*merges: disk"
    ):
        weights.open()


def test_another_architecture_is_refused(tmp_path, llamas):
    shaped_model(tmp_path / "qwen", "qwen3", 0)
    lm = backends.load(tmp_path / "qwen", {"dtype": "float32"})
    weights = CellWeights(given(llamas, "linear/eu/w0.5"), 1, "key", 1, None)
    with pytest.raises(UserError, match=r"cannot be put into the loaded model|which the loaded model has"):
        replace_weights(lm.engine.model, weights)


def test_killed_at_any_moment(llamas, tasks, tmp_path):
    """Nothing finished is done again, and the results are those of an evaluation that nothing
    kills.
    """
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    Family(batch(llamas, tasks, whole, in_memory=True), threads=1).run()
    file = batch(llamas, tasks, killed, in_memory=True)
    script = Path(__file__).parents[1] / "support" / "killing.py"
    done = subprocess.run(
        [sys.executable, script, file, killed, str(KILLS)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == KILLS
    assert len({*told["finished"]}) > 1  # the moments were different ones
    assert told["repeated"] == 0
    assert files(killed, "scores", "samples", "anatomy", "recipes") == files(
        whole, "scores", "samples", "anatomy", "recipes"
    )


def test_nothing_is_written_but_the_compared_merge(llamas, tasks, tmp_path):
    """strace sees every file that is opened for writing, by whatever code."""
    if not shutil.which("strace"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("strace is not installed")
    file, log = batch(llamas, tasks, tmp_path, in_memory=True), tmp_path / "strace.log"
    command = [sys.executable, "-m", "langmerge", "batch", str(file)]
    traced = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=open,openat,creat", "-o", str(log), *command]
    done = subprocess.run(traced, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    opened = [line for line in log.read_text(errors="replace").splitlines() if ".safetensors" in line]
    written = [line for line in opened if "O_WRONLY" in line or "O_RDWR" in line or "creat(" in line]
    assert opened
    assert written
    assert all("/batches/tiny/check-" in line for line in written)
    assert not [*tmp_path.glob("batches/*/check-*")]
