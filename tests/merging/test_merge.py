"""`langmerge merge` on checkpoints of a tiny Llama: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from langmerge.errors import UserError
from langmerge.merging.checkpoint import open_checkpoint
from langmerge.merging.engine import Merge
from langmerge.merging.passes.thresholds import SearchRange, Threshold
from langmerge.merging.reader import Files
from langmerge.merging.recipe import read_recipe
from langmerge.merging.shards import NO_ALLOCATE, NO_DIRECT
from langmerge.merging.stream import Stream
from support.merging import (
    CONFIG,
    EMBEDDINGS,
    MERGE,
    NORM,
    PEAK,
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
from support.paths import ROOT

SCRIPT = ROOT / "scripts" / "merge.py"


# ---- what is written


def test_linear_checkpoint_is_complete(folder):
    given = recipe(out_dtype="bfloat16")
    tensors = merged(given)
    instruct, eu = (load_file(name + "/model.safetensors") for name in ("instruct", "eu"))
    assert set(tensors) == set(instruct)
    for name, tensor in tensors.items():
        assert tensor.dtype == ml_dtypes.bfloat16
        expected = (
            ((instruct[name].astype(np.float64) + 0.5 * eu[name]) / 1.5).astype(np.float32).astype(ml_dtypes.bfloat16)
        )
        # to one unit in the last place: 2^-7 of the value
        np.testing.assert_allclose(tensor.astype(np.float32), expected.astype(np.float32), rtol=2**-7)
        assert (tensor == expected).mean() > 0.99
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert Path("out", name).read_bytes() == Path("instruct", name).read_bytes()
    assert json.loads(Path("out/config.json").read_text()) == {**CONFIG, "torch_dtype": "bfloat16"}
    assert yaml.safe_load(Path("out/mergekit_config.yml").read_text()) == given
    card = Path("out/README.md").read_text()
    assert yaml.safe_load(card.split("---")[1]) == {
        "base_model": ["instruct", "eu"],
        "library_name": "transformers",
        "tags": ["merge", "langmerge"],
    }
    assert yaml.safe_load(card.split("```yaml")[1].split("```")[0]) == given


def test_provenance(folder):
    (folder / "eu" / "langmerge.json").write_text('{"revision": "abc123"}')
    merged(recipe(), "out", "--seed", "7")
    provenance = json.loads(Path("out/langmerge.json").read_text())
    digest = subprocess.run(["sha256sum", "eu/model.safetensors"], capture_output=True, text=True).stdout.split()[0]
    assert provenance["sources"][1] == {"model": "eu", "revision": "abc123", "sha256": {"model.safetensors": digest}}
    assert provenance["sources"][0]["revision"] is None
    assert (provenance["command"], provenance["seed"], provenance["recipe"]) == ("merge", 7, recipe())
    assert provenance["version"]
    assert "key" not in provenance
    merged(recipe(), "out", "--key", "1f2e")
    assert json.loads(Path("out/langmerge.json").read_text()) == {**provenance, "seed": 0, "key": "1f2e"}


def test_recipe_from_a_file(folder):
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe()))
    merged("recipe.yaml", "from_file")
    merged(recipe(), "from_text")
    assert content("from_file") == content("from_text")


def test_the_file_in_scripts_is_the_command(folder):
    done = run(recipe(), "from_command")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    subprocess.run([sys.executable, SCRIPT, json.dumps(recipe()), "from_script"], check=True)
    assert merged(recipe(), "here")
    assert content("from_command") == content("from_script") == content("here")


def test_result_loads_and_generates_with_transformers(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged(recipe("task_arithmetic", weights=(1, 0.5), out_dtype="float16"), "out", "--max-shard-size", "20KB")
    model = AutoModelForCausalLM.from_pretrained("out", dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained("out")
    assert str(model.dtype) == "torch.float16"
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Kaixo"}], tokenize=False)
    assert prompt == "<|im_start|>user: Kaixo"
    tokens = tokenizer(prompt, return_tensors="pt")
    answer = model.float().generate(**tokens, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] > tokens["input_ids"].shape[1]
    file = open_checkpoint(Path("out")).tensors["model.norm.weight"].file
    np.testing.assert_array_equal(model.model.norm.weight.detach().numpy(), load_file(file)["model.norm.weight"])


def test_the_chat_template_is_that_of_tokenizer_source_or_of_the_first_model(folder):
    merged(recipe(tokenizer_source="eu"), "named")
    assert Path("named/chat_template.jinja").read_bytes() == Path("eu/chat_template.jinja").read_bytes()
    given = recipe()
    del given["tokenizer_source"]
    merged(given, "first")
    assert Path("first/chat_template.jinja").read_bytes() == Path("instruct/chat_template.jinja").read_bytes()


def test_the_type_is_out_dtype_or_dtype_or_the_sources(folder):
    write_model(folder / "half", 5, np.float16)
    models_ = {
        "models": [{"model": name, "parameters": {"weight": 1}} for name in ("half", "eu")],
        "tokenizer_source": "half",
    }

    def types(output, **keys):
        return {tensor.dtype.name for tensor in merged(recipe(**models_, **keys), output).values()}

    assert types("a") == {"float16"}
    assert types("b", dtype="bfloat16") == {"bfloat16"}
    assert types("c", dtype="float32", out_dtype="float16") == {"float16"}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_low_precision_inputs_are_merged_in_fp32(tmp_path, monkeypatch, dtype):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["base", "instruct", "eu"]):
        write_model(tmp_path / name, seed, dtype)
    tensors = merged(recipe("task_arithmetic", weights=(1, 0.7), out_dtype="float32"))
    base, instruct, eu = (
        {k: v.astype(np.float32) for k, v in load_file(f"{name}/model.safetensors").items()}
        for name in ("base", "instruct", "eu")
    )
    name = "model.layers.1.mlp.up_proj.weight"
    tau = np.float32(1) * (instruct[name] - base[name]) + np.float32(0.7) * (eu[name] - base[name])
    np.testing.assert_array_equal(tensors[name], base[name] + tau)


def test_rounding_is_to_nearest_even(folder):
    # bf16 has 8 bits: 1 + 2^-8 lies half-way between 1 (even) and 1 + 2^-7; 1 + 3 * 2^-8 between 1 + 2^-7 and 1 + 2^-6 (even)
    def change(tensors):
        tensors["model.norm.weight"][:4] = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8]

    edit_tensors(folder / "instruct", change)
    tensors = merged(recipe(weights=(1, 0), dtype="bfloat16"))
    np.testing.assert_array_equal(tensors["model.norm.weight"][:4].astype(np.float32), [1, 1 + 2**-6, 1 + 2**-7, -1])


def test_the_base_among_the_models_changes_nothing(folder):
    given = recipe("ties")
    listed = {**given, "models": [{"model": "base"}, *given["models"]]}
    first, second = merged(given, "without"), merged(listed, "with")
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_slerp_with_the_instruct_model_as_base(folder):
    given = {
        "merge_method": "slerp",
        "base_model": "instruct",
        "models": [{"model": "instruct"}, {"model": "eu"}],
        "parameters": {"t": 1.0},
    }
    tensors, eu = merged(given), load_file("eu/model.safetensors")
    np.testing.assert_allclose(tensors["lm_head.weight"], eu["lm_head.weight"], atol=1e-7)


def test_tied_head_that_only_some_models_store_is_left_out(folder):
    for name in ("base", "instruct"):
        shutil.rmtree(name)
        write_model(folder / name, 1, tie_word_embeddings=True)
    assert "lm_head.weight" not in merged(recipe("task_arithmetic"))


# ---- same inputs, same bytes


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
    # (threads, weights in a batch, weights in a chunk, bytes of a tensor that may be merged in memory); the last
    # chunk size is no multiple of a tile, nor of a page
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
    """As on the oldest 64-bit processor of this kind: kernels compiled for it, numpy without what it chooses at run time."""
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
    assert list(tmp_path.rglob("*.nbc")), "nothing was compiled anew"


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
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
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
        (change(tokenizer={"source": "union"}), ["'tokenizer' is not supported"]),
        (change(tokenizer_source="union"), ["tokenizer_source is 'union'", "instruct, eu"]),
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


def test_a_tiny_merge_takes_no_time(folder):
    """Hundreds of them run in the default run: nothing heavy may be imported but numba, and pyarrow, which likes to import pandas."""
    merged(recipe())
    command = [SCRIPT, json.dumps(recipe()), "out", "--anatomy", "anatomy.parquet", "--anatomy-base", "base"]
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True
    ).stderr
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in loaded.splitlines()}
    assert {"numpy", "pyarrow"} <= modules
    assert not modules & {"torch", "transformers", "pandas", "safetensors"}
