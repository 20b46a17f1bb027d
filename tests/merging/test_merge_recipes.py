"""Recipes: slices, vocabularies of different sizes, special tokens, and mergekit's keys that are
refused.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from langmerge.errors import UserError
from langmerge.merging.engine import Merge
from langmerge.merging.recipe import read_recipe
from langmerge.merging.registry import METHODS
from langmerge.merging.stream import Stream
from langmerge.merging.tensors import TensorInfo, tensor_infos
from support.mergekit import run_mergekit
from support.merging import (
    CONFIG,
    EMBEDDINGS,
    HEAD,
    NORM,
    VOCABULARY,
    WIDTH,
    edit_tensors,
    recipe,
    refused,
    run_here,
    shapes,
    write_model,
)


def merge(given, output="out", threads=2, seed=0) -> dict[str, np.ndarray]:
    Merge(read_recipe(given), seed, 5 * 10**9).write(Path(output), threads, page_cache=True)
    return load_file(Path(output, "model.safetensors"))


def message(given) -> str:
    with pytest.raises(UserError) as error:
        read_recipe(given)
    return str(error.value)


# ---- slices

LAYERS = 6


@pytest.fixture
def constants(tmp_path, monkeypatch) -> Path:
    """Models all of whose weights are 0 (base, zero), 1 (one) and 10 (ten): a sum of them shows
    their weights.
    """
    monkeypatch.chdir(tmp_path)
    config = {**CONFIG, "num_hidden_layers": LAYERS}
    for name, value in {"base": 0, "zero": 0, "one": 1, "ten": 10}.items():
        write_model(tmp_path / name, 0, num_hidden_layers=LAYERS)
        save_file(
            {tensor: np.full(shape, value, np.float32) for tensor, shape in shapes(config).items()},
            f"{name}/model.safetensors",
        )
    return tmp_path


def source(model, first, end, **parameters) -> dict:
    return {"model": model, "layer_range": [first, end], "parameters": parameters}


def part(*sources, **parameters) -> dict:
    return {"sources": list(sources), "parameters": parameters}


def pair(first, end, own_weight=None, /, **parameters) -> dict:
    """A slice of zero, with weight 1, and one."""
    own = {} if own_weight is None else {"weight": own_weight}
    return part(source("zero", first, end, weight=1), source("one", first, end, **own), **parameters)


def linear(*slices, **parameters) -> dict:
    return {
        "merge_method": "linear",
        "slices": list(slices),
        "parameters": {"normalize": False, **parameters},
        "dtype": "float32",
    }


def onto_base(method, *slices, base="base", **parameters) -> dict:
    return {
        "merge_method": method,
        "base_model": base,
        "slices": list(slices),
        "parameters": parameters,
        "dtype": "float32",
    }


MLP, REST = {"filter": "mlp", "value": 0.3}, {"value": 0.5}
SLICES = {
    # (the recipe; what q_proj of the layers, then the embeddings, the last norm and the head are,
    # by hand)
    "of each source": (linear(pair(0, 2, 0.1), pair(2, 6, 0.2)), [0.1, 0.1, 0.2, 0.2, 0.2, 0.2], [0.1, 0.2, 0.2]),
    "of each slice": (
        linear(pair(0, 2, weight=0.1), pair(2, 6, weight=0.2)),
        [0.1, 0.1, 0.2, 0.2, 0.2, 0.2],
        [0.1, 0.2, 0.2],
    ),
    "source before slice before global": (
        linear(pair(0, 2, 0.3, weight=0.1), pair(2, 4, weight=0.2), pair(4, 6), weight=0.7),
        [0.3, 0.3, 0.2, 0.2, 0.7, 0.7],
        [0.3, 0.7, 0.7],
    ),
    "gradients of sources": (
        linear(pair(0, 2, [0.1, 0.2]), pair(2, 5, [0.3, 0.5]), pair(5, 6, [0.8, 0.9])),
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.9],
        [0.1, 0.8, 0.8],
    ),
    "a global gradient": (linear(pair(0, 2), pair(2, 6), weight=[0, 0.6]), [0, 0.6, 0, 0.2, 0.4, 0.6], [0, 0, 0]),
    "filters, then the next level": (
        linear(pair(0, 2, [MLP], weight=[{"filter": "self_attn", "value": 0.6}]), pair(2, 6, [MLP]), weight=0.9),
        [0.6, 0.6, 0.9, 0.9, 0.9, 0.9],
        [0.9, 0.9, 0.9],
    ),
    "filters outside of the layers": (
        linear(
            pair(0, 2, 0.1), pair(2, 6, [{"filter": "lm_head", "value": 0.8}, {"filter": "embed", "value": 0.7}, REST])
        ),
        [0.1, 0.1, 0.5, 0.5, 0.5, 0.5],
        [0.1, 0.5, 0.8],
    ),
    "normalize": (
        linear(pair(0, 2, 1), pair(2, 6, 1, normalize=True)),
        [1, 1, 0.5, 0.5, 0.5, 0.5],
        [1, 0.5, 0.5],
    ),
    "sources in another order": (
        linear(pair(0, 2, 0.1), {"sources": pair(2, 6, 0.2)["sources"][::-1]}),
        [0.1, 0.1, 0.2, 0.2, 0.2, 0.2],
        [0.1, 0.2, 0.2],
    ),
    "lambda": (
        onto_base(
            "task_arithmetic",
            part(source("base", 0, 2), source("one", 0, 2, weight=0.1), **{"lambda": 2}),
            part(source("base", 2, 6), source("one", 2, 6, weight=0.2), **{"lambda": 3}),
        ),
        [0.2, 0.2, 0.6, 0.6, 0.6, 0.6],
        [0.2, 0.6, 0.6],
    ),
    "slerp": (
        onto_base(
            "slerp",
            part(source("one", 0, 2), source("ten", 0, 2), t=0),
            part(source("one", 2, 6), source("ten", 2, 6), t=[1, 0]),
            base="one",
        ),
        [1, 1, 10, 7, 4, 1],
        [1, 10, 10],
    ),
    "one slice": (linear(pair(0, 6, [0, 0.5, 0])), [0, 0.2, 0.4, 0.4, 0.2, 0], [0, 0, 0]),
}


@pytest.mark.parametrize("name", SLICES)
def test_slices_have_parameters_of_their_own(constants, name):
    given, layers, others = SLICES[name]
    tensors = merge(given)
    found = [tensors[f"model.layers.{layer}.self_attn.q_proj.weight"] for layer in range(LAYERS)]
    for values, expected in zip(
        [*found, tensors[EMBEDDINGS], tensors[NORM], tensors[HEAD]], [*layers, *others], strict=True
    ):
        np.testing.assert_allclose(values, np.full_like(values, expected), rtol=1e-6, atol=1e-7)


@pytest.mark.parity
def test_slices_agree_with_mergekits(constants, mergekit_python):
    jobs = [{"recipe": given, "output": f"theirs/{name}", "seed": 0} for name, (given, *_) in SLICES.items()]
    run_mergekit(mergekit_python, jobs)
    for name, (given, *_) in SLICES.items():
        ours, theirs = merge(given), load_file(f"theirs/{name}/model.safetensors")
        assert ours.keys() == theirs.keys()
        for tensor in ours:
            np.testing.assert_allclose(ours[tensor], theirs[tensor], rtol=2e-7, err_msg=f"{name}: {tensor}")


def test_one_slice_of_all_layers_is_what_models_is(folder):
    given = recipe("dare_ties", parameters={"density": [0.2, 0.9]})
    sources = [{**entry, "layer_range": [0, 2]} for entry in given["models"]]
    sliced = {key: value for key, value in given.items() if key != "models"} | {"slices": [{"sources": sources}]}
    first, second = merge(given, "models"), merge(sliced, "slices")
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_slices_that_end_before_the_model_or_after_it(folder):
    given = {**recipe(), "slices": [part(source("instruct", 0, 1, weight=1), source("eu", 0, 1, weight=1))]}
    del given["models"]
    refused(
        given,
        "slices[0].sources[0]: layer_range is [0, 1], expected [0, 2]: instruct has 2 layers",
        "stack the result's with passthrough",
    )
    for each in given["slices"][0]["sources"]:
        each["layer_range"] = [0, 3]
    refused(given, "slices[0].sources[0]: layer_range is [0, 3], expected [0, 2]")


def set_range(index, place, value):
    return lambda slices: slices[index]["sources"][place].update(layer_range=value)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            set_range(0, 0, [1, 3]),
            ["slices[0].sources[0] (zero): layer_range is [1, 3], expected [0, 3]", "whole models"],
        ),
        (set_range(1, 1, [3, 6]), ["slices[1].sources[1] (one): layer_range is [3, 6], expected [2, 6]"]),
        (
            set_range(1, 1, [2, 5]),
            ["slices[1].sources[1] (one): layer_range is [2, 5], expected [2, 6], as of slices[1].sources[0]"],
        ),
        (set_range(1, 0, [0, 2]), ["slices[1].sources[0] (zero): layer_range is [0, 2], expected [2, ...]"]),
        (set_range(1, 0, [2, 2]), ["slices[1].sources[0] (zero): layer_range is [2, 2], expected [2, ...]"]),
        (set_range(0, 0, "0-2"), ["slices[0].sources[0] (zero): layer_range is '0-2', expected [first layer"]),
        (set_range(0, 0, [0, 2, 4]), ["layer_range is [0, 2, 4], expected [first layer"]),
        (lambda slices: slices.reverse(), ["slices[0].sources[0] (zero): layer_range is [2, 6], expected [0, 6]"]),
        (
            lambda slices: slices.append(slices[0]),
            ["slices[2].sources[0] (zero): layer_range is [0, 2], expected [6, ...]"],
        ),
        (lambda slices: slices[1]["sources"].pop(), ["slices[1].sources lacks one", "the same models"]),
        (
            lambda slices: slices[1]["sources"].append(source("ten", 2, 6)),
            ["slices[1].sources[2] (ten) is not among slices[0].sources"],
        ),
        (lambda slices: slices[0]["sources"].append(source("one", 0, 2)), ["slices[0].sources: one is listed twice"]),
        (
            lambda slices: slices[0]["sources"][0].pop("layer_range"),
            ["slices[0].sources[0] is {", "`model`, `layer_range`"],
        ),
        (lambda slices: slices[0].update(sources=[]), ["slices[0].sources is []"]),
        (lambda slices: slices.insert(0, "all"), ["slices[0] is 'all'"]),
        (
            lambda slices: slices[1].update(density=0.5),
            ["slices[1]: density is outside of its `parameters`", "Move it under"],
        ),
        (
            lambda slices: slices[0]["sources"][1].update(weight=1),
            ["slices[0].sources[1]: weight is outside of its `parameters`"],
        ),
        (
            lambda slices: slices[1].update(residual_weight=1),
            ["slices[1]: the key 'residual_weight' is not supported", "Leave it out"],
        ),
        (
            lambda slices: slices[1].update(base_model="zero"),
            ["slices[1]: the key 'base_model' is not supported", "sources, parameters"],
        ),
        (lambda slices: slices[1]["parameters"].update(t=1), ["slices[1].parameters: linear has no parameter 't'"]),
        (
            lambda slices: slices[1]["sources"][1]["parameters"].clear(),
            ["slices[1].sources[1] (one): weight is missing"],
        ),
        (
            lambda slices: slices[1]["sources"][1]["parameters"].update(normalize=True),
            ["slices[1].sources[1] (one): normalize applies"],
        ),
    ],
)
def test_slices_that_are_refused(edit, words):
    given = copy.deepcopy(SLICES["of each source"][0])
    edit(given["slices"])
    for word in words:
        assert word in message(given)


def test_slices_and_models_are_refused_together():
    assert "both models and slices" in message({**recipe(), "slices": SLICES["of each source"][0]["slices"]})
    assert "slices is []" in message(linear())


def test_a_filter_without_a_value_for_the_rest_needs_another_level():
    given = recipe()
    given["models"][1]["parameters"]["weight"] = [MLP]
    assert "models[1] (eu): weight has no value for tensors that no filter matches. Add {value: ...}" in message(given)
    given["parameters"]["weight"] = 1
    assert read_recipe(given)


# ---- keys of mergekit's that mean something else here, or nothing


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"chat_template": "auto"}, ["'chat_template' is not supported", "tokenizer_source"]),
        ({"modules": {}}, ["'modules' is not supported", "`slices`"]),
        ({"lora": "x"}, ["'lora' is not supported", "folder+adapter"]),
        ({"input_models": []}, ["'input_models' is not supported", "`models`"]),
        ({"experts": []}, ["'experts' is not supported", "mergekit-moe"]),
        ({"tokenizer_source": "base"}, ["tokenizer_source is 'base'", "instruct, eu", "needs a base_model"]),
        ({"rows": "all"}, ["rows is 'all'", "common"]),
        ({"rows": None}, ["rows is None", "common"]),
        ({"special_tokens": "instrukt"}, ["special_tokens is 'instrukt'", "instruct, eu"]),
        ({"special_tokens": None}, ["special_tokens is None"]),
        ({"unheard_of": 1}, ["the key 'unheard_of' is not supported. Supported: merge_method, models, slices"]),
    ],
)
def test_keys_that_are_refused(keys, words):
    for word in words:
        assert word in message({**recipe(), **keys})


def test_tokenizer_source_base_is_the_base_model(folder):
    merge(recipe("ties", tokenizer_source="base"))
    assert Path("out/chat_template.jinja").read_bytes() == Path("base/chat_template.jinja").read_bytes()
    given = {**recipe("task_arithmetic", tokenizer_source="base"), "base_model": "instruct"}
    assert read_recipe(given).tokenizer_source == Path("instruct")


NOTED = {
    "int8_mask": recipe("ties", parameters={"density": 0.5, "int8_mask": True}),
    "name": recipe("ties", parameters={"density": 0.5}, name="my-merge"),
}


@pytest.mark.parametrize("key", NOTED)
def test_what_changes_nothing_is_ignored_with_a_note(folder, key):
    expected = merge(recipe("ties", parameters={"density": 0.5}), "plain")
    printed = run_here(NOTED[key])
    assert printed.startswith(f"note: {key} is ignored: ")
    assert printed.count("\n") == 1
    for name, tensor in load_file("out/model.safetensors").items():
        np.testing.assert_array_equal(tensor, expected[name])
    assert yaml.safe_load(Path("out/mergekit_config.yml").read_text()) == NOTED[key]


def test_what_changes_something_in_mergekit_is_no_such_key():
    two = [{"model": name, "parameters": {"weight": 1}} for name in ("instruct", "eu")]
    given = {"merge_method": "nuslerp", "models": two, "parameters": {"nuslerp_flatten": True}}
    assert read_recipe(given).notes
    given["parameters"]["nuslerp_flatten"] = False
    assert "nuslerp has no parameter 'nuslerp_flatten'" in message(given)


def test_one_filter_without_a_list():
    given = recipe()
    given["models"][1]["parameters"]["weight"] = {"value": 0.3}
    tensor = TensorInfo("x", (1,))
    assert read_recipe(given).arguments(tensor)["weight"] == (1.0, 0.3)


# ---- rows: common


def resize(folder: Path, rows: int, dtype=np.float32, **changes) -> dict[str, np.ndarray]:
    """Write a model again, with so many tokens."""
    shutil.rmtree(folder)
    write_model(folder, rows, dtype, vocab_size=rows, **changes)
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("method", ["linear", "dare_ties", "della", "slerp"])
@pytest.mark.parametrize("out_dtype", ["float32", "bfloat16", "float16"])
def test_common_rows_are_merged_and_the_rest_are_tokenizer_sources(folder, method, out_dtype):
    more = resize(folder / "instruct", VOCABULARY + 9, np.float32 if out_dtype == "float32" else ml_dtypes.bfloat16)
    given = {"rows": "common", "out_dtype": out_dtype}
    if method == "slerp":
        given = {
            "merge_method": "slerp",
            "base_model": "instruct",
            "models": [{"model": "eu"}],
            "parameters": {"t": 0.3},
            **given,
        }
    else:
        given = recipe(method, parameters={} if method == "linear" else {"density": 0.5}, **given)
    tensors = merge(given | {"tokenizer_source": "instruct"})
    assert json.loads(Path("out/config.json").read_text())["vocab_size"] == VOCABULARY + 9
    # The same with a model that was cut to the common rows.
    cut = {name: values[:VOCABULARY] if name in (EMBEDDINGS, HEAD) else values for name, values in more.items()}
    save_file(cut, "instruct/model.safetensors", {"format": "pt"})
    config = json.loads(Path("instruct/config.json").read_text())
    Path("instruct/config.json").write_text(json.dumps({**config, "vocab_size": VOCABULARY}))
    expected = merge({key: value for key, value in given.items() if key != "rows"}, "cut")
    for name, values in tensors.items():
        if name in (EMBEDDINGS, HEAD):
            assert values.shape == (VOCABULARY + 9, WIDTH)
            np.testing.assert_array_equal(values[VOCABULARY:], more[name][VOCABULARY:].astype(values.dtype))
            values = values[:VOCABULARY]
        np.testing.assert_array_equal(values, expected[name])


def test_a_donor_with_the_fewest_rows_gives_its_shape(folder):
    resize(folder / "eu", VOCABULARY + 5)
    tensors = merge(recipe(rows="common"))
    assert tensors[EMBEDDINGS].shape == (VOCABULARY, WIDTH)


def test_the_first_models_rows_are_enough_for_three(folder):
    resize(folder / "eu", VOCABULARY + 5)
    more = resize(folder / "base", VOCABULARY + 7)
    tensors = merge(recipe("ties", rows="common", tokenizer_source="base"))
    assert tensors[HEAD].shape == (VOCABULARY + 7, WIDTH)
    np.testing.assert_array_equal(tensors[HEAD][VOCABULARY:], more[HEAD][VOCABULARY:])


def test_copied_rows_that_are_not_finite(folder):
    resize(folder / "instruct", VOCABULARY + 5)
    edit_tensors(folder / "instruct", lambda tensors: tensors[HEAD].__setitem__((VOCABULARY + 1, 3), np.nan))
    refused(recipe(rows="common"), "instruct/model.safetensors", HEAD, "NaN")


def test_without_rows_other_sizes_are_an_error_that_names_it(folder):
    resize(folder / "eu", VOCABULARY + 6)
    refused(recipe(), "vocabularies", "instruct has 258", "eu has 264", "`rows: common`", "resize_token_embeddings")


def test_common_rows_are_those_of_tokens_alone(folder):
    resize(folder / "eu", VOCABULARY + 6, intermediate_size=24)
    refused(recipe(rows="common"), "mlp.down_proj", "[16, 32] in instruct", "[16, 24] in eu")


# ---- special_tokens


def add_special_tokens(model: str, *numbers: int) -> None:
    path = Path(model, "tokenizer.json")
    added = [{"id": number, "content": f"<|{number}|>", "special": True} for number in numbers]
    path.write_text(
        json.dumps(
            {**json.loads(path.read_text()), "added_tokens": [*added, {"id": 7, "content": "<|7|>", "special": False}]}
        )
    )


SPECIAL = (0, 3, 4, 257)


@pytest.mark.parametrize("method", ["linear", "della"])
@pytest.mark.parametrize(
    ("dtype", "out_dtype"), [(np.float32, "bfloat16"), (ml_dtypes.bfloat16, "bfloat16"), (np.float32, "float16")]
)
def test_special_tokens_are_not_merged(folder, monkeypatch, method, dtype, out_dtype):
    # Rows are divided between parts.
    monkeypatch.setattr(
        "langmerge.merging.engine.Stream", lambda threads: Stream(threads, batch_size=2048, chunk_size=1000)
    )
    models = {name: resize(folder / name, VOCABULARY, dtype) for name in ("base", "instruct")}
    add_special_tokens("instruct", *SPECIAL)
    given = recipe(
        method, parameters={} if method == "linear" else {"density": 0.5, "rescale": False}, out_dtype=out_dtype
    )
    plain = merge(given, "plain")
    for name in ("instruct", "base") if method == "della" else ("instruct",):
        tensors = merge({**given, "special_tokens": name}, name + "_special")
        for tensor, values in tensors.items():
            expected = plain[tensor].copy()
            if tensor in (EMBEDDINGS, HEAD):
                expected[list(SPECIAL)] = models[name][tensor][list(SPECIAL)].astype(expected.dtype)
                assert (expected != plain[tensor]).any()
            np.testing.assert_array_equal(values, expected)


def test_the_written_recipe_says_what_mergekit_ignores(folder):
    add_special_tokens("instruct", 5)
    merge(recipe(special_tokens="instruct"))
    assert (
        Path("out/mergekit_config.yml")
        .read_text()
        .startswith("# langmerge's own, which mergekit ignores: special_tokens\nmerge_method")
    )


def test_special_tokens_with_common_rows(folder):
    more = resize(folder / "instruct", VOCABULARY + 9)
    add_special_tokens("instruct", 5, VOCABULARY + 2)
    tensors = merge(recipe(rows="common", special_tokens="instruct"))
    for name in (EMBEDDINGS, HEAD):
        np.testing.assert_array_equal(tensors[name][[5, VOCABULARY + 2]], more[name][[5, VOCABULARY + 2]])
    refused(recipe(rows="common", special_tokens="eu"), "'<|260|>' has the id 260, and eu has 258 rows")
    resize(folder / "eu", VOCABULARY + 9)
    resize(folder / "base", VOCABULARY)
    given = recipe("ties", rows="common", special_tokens="eu")
    refused(given, "the id 260 is not among the 258 rows", "Name instruct as special_tokens")


def test_special_tokens_without_a_tokenizer_json(folder):
    Path("instruct/tokenizer.json").unlink()
    refused(
        recipe(special_tokens="instruct"), "instruct/tokenizer.json is missing", "special_tokens", "save_pretrained"
    )


def test_special_tokens_of_a_tokenizer_without_any(folder):
    refused(recipe(special_tokens="instruct"), "instruct/tokenizer.json has no added_tokens with `special: true`")


def test_special_tokens_out_of_range(folder):
    add_special_tokens("instruct", 3, VOCABULARY)
    refused(recipe(special_tokens="instruct"), "'<|258|>' has the id 258, and instruct has 258 rows")
    path = Path("instruct/tokenizer.json")
    added = [{"id": "3", "content": "<|3|>", "special": True}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "added_tokens": added}))
    refused(recipe(special_tokens="instruct"), "'<|3|>' has the id '3', expected a number")


def test_special_tokens_of_embeddings_that_are_not_there(folder):
    add_special_tokens("instruct", 3)
    for name in ("instruct", "eu"):
        config = json.loads(Path(name, "config.json").read_text())
        Path(name, "config.json").write_text(json.dumps({**config, "vocab_size": VOCABULARY - 1}))
    refused(recipe(special_tokens="instruct"), "instruct has no embeddings with as many rows as vocab_size")


def test_every_method_leaves_special_tokens_and_further_rows_alone(folder):
    """Those that look at the whole model or at whole matrices first, too."""
    more = resize(folder / "instruct", VOCABULARY + 3)
    add_special_tokens("instruct", 2)
    for name, method in METHODS.items():
        given = (
            {"merge_method": name, "base_model": "instruct", "models": [{"model": "eu"}]}
            if method.takes_other
            else recipe(name)
        )
        for entry in given["models"]:
            entry["parameters"] = {key: 0.5 for key in ("weight",) if key in method.per_model}
        settings = {"t": 0.5, "bottom": 1, "top": 0, "transition": 0}  # the last three: of a model with two layers
        given["parameters"] = {key: value for key, value in settings.items() if key in method.overall}
        if not method.needs_base:
            given.pop("base_model", None)
        if name == "passthrough":
            given["models"] = [{"model": "instruct"}]
        tensors = merge({**given, "rows": "common", "special_tokens": "instruct", "tokenizer_source": "instruct"})
        for tensor in (EMBEDDINGS, HEAD):
            kept = [2, *range(VOCABULARY, VOCABULARY + 3)]
            np.testing.assert_array_equal(tensors[tensor][kept], more[tensor][kept], err_msg=name)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("model.embed_tokens.weight", True),
        ("transformer.wte.weight", True),
        ("transformer.wpe.weight", True),
        ("transformer.ln_f.weight", False),
        ("lm_head.weight", False),
        ("transformer.h.0.attn.c_attn.weight", False),
    ],
)
def test_what_comes_before_the_first_layer(name, first):
    names = {name: (4, 4), "transformer.h.1.attn.c_attn.weight": (4, 4)}
    assert tensor_infos(names)[name].is_embedding is first
