"""What `langmerge merge` refuses, and what is left when it cannot go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from langmerge.errors import UserError
from langmerge.merging.engine import Merge
from langmerge.merging.opened import Files
from langmerge.merging.recipe import read_recipe
from langmerge.merging.shards import NO_ALLOCATE, NO_DIRECT
from support.merging import (
    MERGE,
    VOCABULARY,
    content,
    edit_tensors,
    fails,
    grow,
    merged,
    recipe,
    refused,
    run,
    run_here,
    shard_in_two,
    write_model,
)

# ---- bad input: models


def test_model_folder_missing(folder):
    given = recipe()
    given["models"][1]["model"] = "nowhere/eu"
    refused(given, "nowhere/eu", "no such model folder")


def test_only_bin_weights(folder):
    Path("eu/model.safetensors").rename("eu/pytorch_model.bin")
    refused(recipe(), "eu has only PyTorch weights (pytorch_model.bin)", "save_pretrained")


def test_no_weights_at_all(folder):
    Path("eu/model.safetensors").unlink()
    refused(recipe(), "eu", "no weights")


def test_no_config(folder):
    Path("eu/config.json").unlink()
    refused(recipe(), "eu/config.json is missing")


def test_no_tokenizer(folder):
    for path in Path("instruct").glob("tokenizer*"):
        path.unlink()
    refused(recipe(), "instruct", "holds no tokenizer")


def test_tensor_missing_in_one_model(folder):
    edit_tensors(folder / "eu", lambda tensors: tensors.pop("model.norm.weight"))
    refused(
        recipe("task_arithmetic"),
        "model.norm.weight",
        "base/model.safetensors",
        "not in eu (eu/model.safetensors)",
        "[16]",
    )


def test_tensor_extra_in_one_model(folder):
    edit_tensors(folder / "eu", lambda tensors: tensors.update({"model.extra": np.zeros(3, np.float32)}))
    refused(recipe(), "model.extra", "eu/model.safetensors", "not in instruct (instruct/model.safetensors)")


def test_an_untied_head_is_not_left_out(folder):
    edit_tensors(folder / "eu", lambda tensors: tensors.pop("lm_head.weight"))
    refused(recipe(), "lm_head.weight", "not in eu")


def test_tensor_of_another_shape(folder):
    name = "model.layers.0.mlp.up_proj.weight"
    edit_tensors(folder / "eu", lambda tensors: tensors.update({name: np.zeros((24, 16), np.float32)}))
    refused(recipe(), name, "[32, 16] in instruct/model.safetensors", "[24, 16] in eu/model.safetensors")


def test_vocabulary_of_another_size(folder):
    shutil.rmtree("eu")
    write_model(folder / "eu", 2, vocab_size=VOCABULARY + 6)
    refused(recipe(), "vocabularies", "instruct has 258", "eu has 264", "resize_token_embeddings")


def test_truncated_file(folder):
    file = Path("eu/model.safetensors")
    size = file.stat().st_size
    os.truncate(file, size - 100)
    refused(recipe(), "eu/model.safetensors", f"the header says {size} bytes, the file has {size - 100}")


def test_file_cut_off_in_its_header(folder):
    os.truncate("eu/model.safetensors", 50)
    refused(recipe(), "eu/model.safetensors", "the header says at least", "the file has 50")


def test_shard_missing(folder):
    shard_in_two(folder / "eu")
    Path("eu/model-00002-of-00002.safetensors").unlink()
    refused(recipe(), "eu/model-00002-of-00002.safetensors is missing")


def test_two_sets_of_weights(folder):
    whole = Path("eu/model.safetensors").read_bytes()
    shard_in_two(folder / "eu")
    assert merged(recipe())
    Path("eu/model.safetensors").write_bytes(whole)
    refused(recipe(), "eu holds two sets of weights, model.safetensors and that of model.safetensors.index.json")


def test_index_without_a_weight_map(folder):
    Path("eu/model.safetensors").unlink()
    Path("eu/model.safetensors.index.json").write_text('{"metadata": {}}')
    refused(recipe(), "eu/model.safetensors.index.json has no weight_map")


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        (20).to_bytes(8, "little") + b"this is not JSON at all",
        (11).to_bytes(8, "little") + b'{"a": [1]} ',
        (2).to_bytes(8, "little") + b"[]",
        (57).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":["x"],"data_offsets":[0,4]}}    ',
    ],
)
def test_garbage_header(folder, garbage):
    Path("eu/model.safetensors").write_bytes(garbage)
    refused(recipe(), "eu/model.safetensors is not a safetensors file")


def test_quantised_weights(folder):
    edit_tensors(folder / "eu", lambda tensors: tensors.update({"model.norm.weight": np.zeros(16, np.int8)}))
    refused(recipe(), "eu/model.safetensors", "model.norm.weight is of type I8", "floating-point")


def test_weights_that_are_not_finite(folder):
    edit_tensors(folder / "eu", lambda tensors: tensors["model.norm.weight"].__setitem__(3, np.nan))
    fails(recipe(), "eu/model.safetensors", "model.norm.weight", "NaN")


def test_result_too_large_for_its_type(folder):
    edit_tensors(folder / "eu", lambda tensors: tensors["model.norm.weight"].__setitem__(3, 1e6))
    refused(recipe(out_dtype="float16"), "model.norm.weight", "too large for float16", "bfloat16")


# ---- bad input: recipes


def change(**keys):
    return lambda given: given.update(keys)


def change_model(**parameters):
    return lambda given: given["models"][1]["parameters"].update(parameters)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change(merge_method="liner"), ["unknown merge_method 'liner'", "linear", "task_arithmetic"]),
        (lambda given: given.pop("merge_method"), ["merge_method is missing", "linear"]),
        (lambda given: given["models"][1]["parameters"].pop("weight"), ["eu", "weight is missing"]),
        (change_model(weigth=1), ["eu", "'weigth'", "weight"]),
        (change_model(weight=float("nan")), ["eu", "weight is nan", "finite"]),
        (change_model(weight=-1.0), ["1, -1", "sum to 0"]),
        (change_model(normalize=True), ["eu", "normalize", "Move it to the global"]),
        (change(density=0.5), ["density is at the top", "under `parameters`"]),
        (change(tokenizer="union"), ["tokenizer is 'union', expected {source: union"]),
        (change(dtype="int8"), ["dtype is 'int8'", "bfloat16"]),
        (change(base_model="base"), ["linear takes no base"]),
        (change(merge_method="ties"), ["ties needs a base_model"]),
        (change(merge_method="slerp", base_model="base", parameters={"t": 0.5}), ["exactly 2 models", "found 3"]),
        (change(models=[]), ["models is []"]),
        (change(models=["instruct"]), ["models[0] is 'instruct'"]),
        (change(parameters=[1]), ["parameters is [1]"]),
        (lambda given: given["models"].append(given["models"][0]), ["instruct is listed twice"]),
        (lambda given: given["models"][0].update(filter="mlp"), ["models[0]", "'filter' is not supported"]),
    ],
)
def test_recipes_that_are_refused(folder, edit, words):
    given = recipe()
    edit(given)
    refused(yaml.safe_dump(given), "the recipe: ", *words)


def test_messages_name_the_recipes_file(folder):
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe(density=0.5)))
    fails("recipe.yaml", "error: recipe.yaml: density is at the top")


def test_recipe_that_is_not_yaml(folder):
    Path("recipe.yaml").write_text("models: [instruct")
    with pytest.raises(UserError, match=r"^recipe\.yaml is not YAML"):
        run_here("recipe.yaml")
    assert not Path("out").exists()


def test_recipe_that_is_a_list_or_is_missing(folder):
    refused("[linear]", "a recipe is a mapping")
    refused("no/recipe.yaml", "no/recipe.yaml: no such file")


# ---- bad places


def test_disk_too_small(folder, small_disk):
    needed = Path("instruct/model.safetensors").stat().st_size
    message = refused(
        recipe(), str(small_disk), "needs", "bytes", "are free", output=str(small_disk / "models" / "out")
    )
    assert int(message.split("needs ")[1].split(" bytes")[0]) >= needed
    assert list(small_disk.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """One of 64 KiB."""
    with mounted(tmp_path / "small", "tmpfs", "-o", "size=64k") as place:
        yield place


@contextmanager
def mounted(place, kind, *options):
    """Mount a file system; a test that needs one is skipped where that is not allowed."""
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", kind, *options, kind, place], capture_output=True).returncode
    ):
        pytest.skip("mounting a file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_file_system_with_little_to_offer(folder, tmp_path):
    """ramfs has neither O_DIRECT nor fallocate, and does not say how large it is."""
    with mounted(tmp_path / "plain", "ramfs") as place:
        done = run(recipe("ties", parameters={"density": 0.5}), str(place / "out"))
        assert (done.returncode, done.stdout) == (0, "")
        notes = [f"note: the file system of {place} {note}." for note in (NO_ALLOCATE, NO_DIRECT)]
        assert done.stderr.splitlines() == notes
        merged(recipe("ties", parameters={"density": 0.5}))
        assert content(place / "out") == content("out")


def test_unwritable_parent(folder):
    Path("file").write_text("")
    fails(recipe(), "file", output="file/out")


def test_read_only_disk(folder, small_disk):
    subprocess.run(["mount", "-o", "remount,ro,size=8m", small_disk], check=True)
    fails(recipe(), "Read-only file system", str(small_disk), output=str(small_disk / "out"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_parent_without_permission(folder):
    Path("locked").mkdir(mode=0o500)
    fails(recipe(), "Permission denied", "locked", output="locked/out")


def test_output_that_holds_a_source_or_something_else(folder):
    refused(recipe(), "eu holds eu", output="eu")
    refused(recipe(), "a model of the recipe", output=".")
    Path("thesis").mkdir()
    Path("thesis/chapter1.tex").write_text("precious")
    refused(recipe(), "thesis", "not made by langmerge", output="thesis")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_merge_leaves_nothing(folder, number, status):
    grow(folder)
    before = sorted(folder.rglob("*"))
    # A shell's background jobs ignore Ctrl-C, and their children too, if nobody says otherwise.
    process = subprocess.Popen(
        [*MERGE, json.dumps(recipe("dare_ties", parameters={"density": 0.5})), "out"],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 20
    while not list(folder.glob(".out.partial-*/model.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.send_signal(number)
    assert process.wait(timeout=20) == status
    assert sorted(folder.rglob("*")) == before


def test_what_a_killed_merge_leaves_is_hidden_and_the_next_removes_it(folder):
    grow(folder)
    given = recipe("dare_ties", parameters={"density": 0.5})
    process = subprocess.Popen([*MERGE, json.dumps(given), "out"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not list(folder.glob(".out.partial-*/model.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait(timeout=20)
    assert len(list(folder.glob(".out.partial-*"))) == 1
    assert not Path("out").exists()
    assert merged(given)
    assert not list(folder.glob(".out.partial-*"))


def test_a_disk_that_cannot_read(folder, monkeypatch):
    """The system's own EIO: that of memory that is not there, read as a file."""
    descriptor = Files.descriptor
    merge = Merge(read_recipe(recipe("ties", parameters={"density": 0.5})), 0, 10**9)
    before = sorted(folder.rglob("*"))
    with Path("/proc/self/mem").open("rb", buffering=0) as broken:
        monkeypatch.setattr(
            Files,
            "descriptor",
            lambda files, path: broken.fileno() if path.parts[0] == "eu" else descriptor(files, path),
        )
        with pytest.raises(OSError, match=r"Input/output error: 'eu/model\.safetensors'"):
            merge.write(Path("out"), 2, page_cache=False)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties"])
def test_a_file_that_shrinks_while_it_is_merged(folder, method):
    merge = Merge(read_recipe(recipe(method, parameters={} if method == "linear" else {"density": 0.5})), 0, 10**9)
    os.truncate("eu/model.safetensors", Path("eu/model.safetensors").stat().st_size - 1)
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match=r"^eu/model\.safetensors became shorter while it was read"):
        merge.write(Path("out"), 2, False)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("page_cache", [False, True])
def test_a_disk_that_is_full_in_the_middle(folder, small_disk, monkeypatch, page_cache):
    """Where space cannot be reserved, and another process takes what was free when the merge began."""
    subprocess.run(["mount", "-o", "remount,size=128m", small_disk], check=True)
    grow(folder)

    def allocate(file, size, path):
        os.ftruncate(file, size)
        with (small_disk / "other").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, 90 * 2**20)
        return False

    monkeypatch.setattr("langmerge.merging.shards.allocate", allocate)
    with pytest.raises(OSError, match="No space left on device") as error:
        Merge(read_recipe(recipe()), 0, 10**9).write(small_disk / "out", 2, page_cache)
    assert error.value.filename.startswith(f"{small_disk}/.out.partial-")
    assert error.value.filename.endswith("/model.safetensors")
    assert [path.name for path in small_disk.iterdir()] == ["other"]
