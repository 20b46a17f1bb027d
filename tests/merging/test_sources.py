"""Models as groups publish them: other names, other files, other towers. What is read, and what
became of every weight.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from langmerge.errors import UserError
from langmerge.merging.coverage import total
from langmerge.merging.engine import Merge
from langmerge.merging.recipe import read_recipe
from langmerge.merging.sources import open_checkpoint
from support.merging import (
    EMBEDDINGS,
    HEAD,
    NORM,
    VOCABULARY,
    WIDTH,
    content,
    edit_tensors,
    merged,
    recipe,
    refused,
    shard_in_two,
    write_model,
)

WEIGHTS = "model.safetensors"


def edit_config(folder: Path | str, **changes) -> None:
    path = Path(folder, "config.json")
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def rename(folder: str, change) -> None:
    edit_tensors(Path(folder), lambda tensors: replace(tensors, {change(name): t for name, t in tensors.items()}))


def replace(tensors: dict, others: dict) -> None:
    tensors.clear()
    tensors |= others


def counts(output: str = "out") -> dict[str, dict]:
    sources = json.loads(Path(output, "langmerge.json").read_text())["sources"]
    return {source["model"]: source["weights"] for source in sources}


def assert_covered(output: str = "out") -> None:
    """The counts of each model add up to what its files hold."""
    for model, count in counts(output).items():
        stored = {name: t for path in sorted(Path(model).glob("*.safetensors")) for name, t in load_file(path).items()}
        assert total(count) == (len(stored), sum(t.size for t in stored.values())), model


def assert_same(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], err_msg=name)


# ---- heads


def test_a_trained_head_is_merged_although_the_tokenizers_model_is_tied(folder):
    shutil.rmtree("instruct")
    write_model(folder / "instruct", 1, tie_word_embeddings=True)
    tensors, instruct, eu = merged(recipe()), load_file("instruct/" + WEIGHTS), load_file("eu/" + WEIGHTS)
    np.testing.assert_allclose(tensors[HEAD], (instruct[EMBEDDINGS] + 0.5 * eu[HEAD]) / 1.5, rtol=1e-5, atol=1e-7)
    assert json.loads(Path("out/config.json").read_text())["tie_word_embeddings"] is False
    assert_covered()


@pytest.mark.parametrize("said", [True, None])
def test_a_head_that_is_a_copy_is_left_out(folder, said):
    """Said by the config, or by the default of a model's type."""
    for name in ("instruct", "eu"):
        shutil.rmtree(name)
        write_model(folder / name, 1, tie_word_embeddings=True)
        edit_config(name, tie_word_embeddings=said, model_type="gemma2")
    merged(recipe(), "without")
    edit_tensors(folder / "eu", lambda tensors: tensors.update({HEAD: tensors[EMBEDDINGS]}))
    assert_same(merged(recipe()), merged(recipe(), "without"))
    assert counts()["eu"]["left_out"] == {
        "a copy of the word embeddings, which the result ties": {"tensors": 1, "weights": VOCABULARY * WIDTH}
    }
    assert_covered()


def test_a_head_that_is_stored_twice(folder):
    plain = merged(recipe(), "plain")
    edit_tensors(folder / "eu", lambda tensors: tensors.update({"language_model.lm_head.weight": tensors[HEAD]}))
    assert_same(merged(recipe()), plain)
    assert_covered()
    edit_tensors(folder / "eu", lambda tensors: tensors.update({"language_model.lm_head.weight": 2 * tensors[HEAD]}))
    refused(
        recipe(), "eu/model.safetensors", "language_model.lm_head.weight", " and ", "the same tensor, lm_head.weight"
    )


# ---- names


NAMES = {
    "compiled": lambda name: f"_orig_mod.{name}",
    "compiled layers": lambda name: name.replace("layers.0.", "layers.0._orig_mod."),
    "parallel": lambda name: f"module.{name}",
    "wrapped": lambda name: f"language_model.{name}",
    "wrapped since": lambda name: name.replace("model.", "model.language_model.", 1),
}


@pytest.mark.parametrize("method", ["linear", "dare_ties", "ties"])
@pytest.mark.parametrize("name", NAMES)
def test_other_names_of_the_same_tensors(folder, name, method):
    given = recipe(method, parameters={} if method == "linear" else {"density": 0.5})
    plain = merged(given, "plain")
    rename("eu", NAMES[name])
    assert_same(merged(given), plain)
    assert_covered()
    rename("instruct", NAMES[name])
    wrapper = name.startswith("wrapped")
    assert_same(merged(given), {NAMES[name](key) if wrapper else key: value for key, value in plain.items()})
    assert_covered()


def test_names_that_nobody_knows_are_compared(folder):
    rename("eu", lambda name: name.replace("self_attn", "attention"))
    refused(recipe(), "model.layers.0.attention.", "There it may be model.layers.0.self_attn.", "the names differ")


def test_buffers_that_are_computed_are_left_out(folder):
    plain = merged(recipe(), "plain")
    derived = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32),
        "model.layers.0.attn.bias": np.tril(np.ones((1, 1, 8, 8), bool)),
    }
    edit_tensors(folder / "eu", lambda tensors: tensors.update(derived))
    assert_same(merged(recipe()), plain)
    assert counts()["eu"]["left_out"] == {"computed when the model is loaded": {"tensors": 2, "weights": 68}}
    assert_covered()


def test_integers_and_booleans_are_tokenizer_sources(folder):
    for number, name in enumerate(["instruct", "eu"]):
        buffers = {"model.steps": np.array([number, 7]), "model.mask": np.array([True, False, True])}
        edit_tensors(folder / name, lambda tensors, buffers=buffers: tensors.update(buffers))
    tensors = merged(recipe(), "out", "--max-shard-size", "20KB")
    assert tensors["model.steps"].tolist() == [0, 7]
    assert tensors["model.mask"].tolist() == [True, False, True]
    assert counts()["instruct"]["copied"] == {"tensors": 2, "weights": 5}
    assert_covered()


# ---- experts

EXPERTS, INNER = 4, 8


def with_experts(folder: Path, seed: int, kind: str = "qwen3_moe") -> None:
    """Make a model's MLPs mixtures of experts, one by one as they are published."""
    generator = np.random.default_rng(seed)

    def change(tensors):
        for name in [name for name in tensors if ".mlp." in name]:
            del tensors[name]
        for layer in range(2):
            block = f"model.layers.{layer}.{'block_sparse_moe' if kind == 'mixtral' else 'mlp'}"
            gate, up, down = ("w1", "w3", "w2") if kind == "mixtral" else ("gate_proj", "up_proj", "down_proj")
            tensors[f"{block}.gate.weight"] = generator.normal(size=(EXPERTS, WIDTH)).astype(np.float32)
            for expert in range(EXPERTS):
                for name, shape in ((gate, (INNER, WIDTH)), (up, (INNER, WIDTH)), (down, (WIDTH, INNER))):
                    tensors[f"{block}.experts.{expert}.{name}.weight"] = generator.normal(size=shape).astype(np.float32)

    edit_tensors(folder, change)
    edit_config(folder, model_type=kind)


def fused(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layout that transformers has in memory."""
    result = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    result = {name.replace("block_sparse_moe", "mlp"): tensor for name, tensor in result.items()}
    block, names = ("block_sparse_moe", ("w1", "w3", "w2")), ("mlp", ("gate_proj", "up_proj", "down_proj"))
    block, (gate, up, down) = block if any("block_sparse_moe" in name for name in tensors) else names
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        each = [
            [tensors[f"{prefix}.{block}.experts.{e}.{name}.weight"] for e in range(EXPERTS)]
            for name in (gate, up, down)
        ]
        result[f"{prefix}.mlp.experts.gate_up_proj"] = np.concatenate([np.stack(each[0]), np.stack(each[1])], axis=1)
        result[f"{prefix}.mlp.experts.down_proj"] = np.stack(each[2])
    return result


@pytest.mark.parametrize("kind", ["qwen3_moe", "mixtral"])
@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "della", "tsv_m"])
def test_experts_one_by_one_or_fused(folder, method, kind):
    """merge(convert(x)) = convert(merge(x)), to the bit."""
    for seed, name in enumerate(["base", "instruct", "eu"]):
        with_experts(folder / name, seed, kind)
    given = recipe(method, parameters={} if method == "linear" else {"density": 0.5})
    if method == "tsv_m":
        given = {**given, "models": [{"model": "instruct"}, {"model": "eu"}], "parameters": {}}
    plain = merged(given, "plain")
    edit_tensors(folder / "eu", lambda tensors: replace(tensors, fused(tensors)))
    assert_same(merged(given), plain)
    assert_covered()
    edit_tensors(folder / "instruct", lambda tensors: replace(tensors, fused(tensors)))
    assert_same(merged(given), fused(plain))
    assert_covered()


# ---- files


def test_shards_without_an_index(folder):
    plain = merged(recipe(), "plain")
    shard_in_two(folder / "eu")
    Path("eu/model.safetensors.index.json").unlink()
    assert_same(merged(recipe()), plain)
    Path("eu/model-00001-of-00002.safetensors").rename("elsewhere.safetensors")
    refused(recipe(), "eu/model-00001-of-00002.safetensors is missing, and there is no model.safetensors.index.json")
    shutil.copy("eu/model-00002-of-00002.safetensors", "eu/model-00001-of-00003.safetensors")
    refused(recipe(), "eu holds shards of several sets of weights")
    shutil.copy("instruct/model.safetensors", "eu/model.safetensors")
    refused(recipe(), "eu holds two sets of weights, model.safetensors and model-00001-of-00003.safetensors")


def test_a_tensor_that_the_index_forgets_is_not_lost(folder):
    plain = merged(recipe(), "plain")
    shard_in_two(folder / "eu")
    path = Path("eu/model.safetensors.index.json")
    index = json.loads(path.read_text())
    del index["weight_map"][NORM]
    path.write_text(json.dumps(index))
    assert_same(merged(recipe()), plain)


def test_a_tensor_in_two_shards(folder):
    shard_in_two(folder / "eu")
    edit = load_file("eu/model-00001-of-00002.safetensors")
    other = load_file("eu/model-00002-of-00002.safetensors")
    save_file({**edit, NORM: np.ones(WIDTH, np.float32)}, "eu/model-00001-of-00002.safetensors")
    save_file({**other, NORM: np.ones(WIDTH, np.float32)}, "eu/model-00002-of-00002.safetensors")
    refused(recipe(), f"{NORM} is in eu/model-00001-of-00002.safetensors and in eu/model-00002-of-00002.safetensors")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("consolidated.safetensors", ["original format of Mistral or Llama", "consolidated.safetensors"]),
        ("model.Q4_K_M.gguf", ["llama.cpp's weights (model.Q4_K_M.gguf)"]),
        ("pytorch_model.bin", ["PyTorch weights (pytorch_model.bin)"]),
    ],
)
def test_weights_in_another_format(folder, name, words):
    Path("eu/model.safetensors").rename(Path("eu", name))
    refused(recipe(), "eu has", *words)


def test_consolidated_weights_beside_the_models_are_another_copy_that_nobody_reads(folder):
    plain = merged(recipe(), "plain")
    shutil.copy("base/model.safetensors", "eu/consolidated.safetensors")
    assert_same(merged(recipe()), plain)


def test_an_adapter_beside_a_models_weights(folder):
    Path("eu/adapter_config.json").write_text("{}")
    shutil.copy("eu/model.safetensors", "eu/adapter_model.safetensors")
    refused(recipe(), "eu holds a model and a LoRA adapter")


@pytest.mark.parametrize("method", ["linear", "ties", "della"])
def test_weights_that_zero3_did_not_gather(folder, method):
    edit_tensors(folder / "eu", lambda tensors: tensors.update({NORM: np.zeros(0, np.float32)}))
    given = recipe(method, parameters={} if method == "linear" else {"density": 0.5})
    refused(given, "eu/model.safetensors: model.norm.weight has no weights (its shape is [0])", "zero_to_fp32.py")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "tokenizer_config.json",
        "vocab.json",
    ],
)
def test_git_lfs_pointers(folder, name):
    Path("instruct", name).write_text(POINTER)
    refused(recipe(), f"instruct/{name} is a Git LFS pointer", "git lfs pull")


def test_what_the_result_needs_to_load_is_copied(folder):
    files = {
        "preprocessor_config.json": "{}",
        "processor_config.json": "{}",
        "video_preprocessor_config.json": "{}",
        "additional_chat_templates/rag.jinja": "{{ messages }}",
        "vocab.tiktoken": "YQ== 0",
        "modeling_own.py": "import torch",
        "parts/layers.py": "import torch",
    }
    for name, text in files.items():
        Path("instruct", name).parent.mkdir(exist_ok=True)
        Path("instruct", name).write_text(text)
    others = {"trainer_state.json": "{}", "optimizer.pt": "x", "setup.cfg": ""}
    for name, text in others.items():
        Path("instruct", name).write_text(text)
    merged(recipe())
    copied = {name for name in files if Path("out", name).is_file()}
    assert copied == {name for name in files if not name.endswith(".py")}
    edit_config("instruct", auto_map={"AutoModelForCausalLM": "modeling_own.OwnModel"})
    merged(recipe())
    for name, text in files.items():
        assert Path("out", name).read_text() == text
    assert not [name for name in others if Path("out", name).exists()]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("modeling_own.OwnModel", ["instruct/modeling_own.py is missing"]),
        (["modeling_own.OwnTokenizer", None], ["instruct/modeling_own.py is missing"]),
        ("group/model--modeling_own.OwnModel", ["a repository of the hub", "offline"]),
    ],
)
def test_code_that_is_not_there(folder, named, words):
    edit_config("instruct", auto_map={"AutoModelForCausalLM": named})
    refused(recipe(), "instruct/config.json: auto_map names", *words)


def test_a_config_of_quantised_weights_over_dense_ones(folder):
    edit_config("instruct", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    merged(recipe())
    assert "quantization_config" not in json.loads(Path("out/config.json").read_text())


# ---- quantised weights


def blocks_of(matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix as 8-bit floats with a scale for each block, and what these are worth."""
    scales = np.zeros([-(-length // size) for length in matrix.shape], np.float32)
    quantised = np.zeros(matrix.shape, ml_dtypes.float8_e4m3fn)
    dense = np.zeros_like(matrix)
    for row, column in np.ndindex(scales.shape):
        block = np.s_[row * size : (row + 1) * size, column * size : (column + 1) * size]
        scales[row, column] = np.abs(matrix[block]).max() / 448
        quantised[block] = (matrix[block] / scales[row, column]).astype(quantised.dtype)
        dense[block] = quantised[block].astype(np.float32) * scales[row, column]
    return quantised, scales, dense


def write_raw(path: str, tensors: dict[str, np.ndarray]) -> None:
    """A safetensors file, with types that the library's numpy half does not know."""
    names = {"float8_e4m3fn": "F8_E4M3", "float32": "F32", "uint8": "U8", "bfloat16": "BF16"}
    header, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        kind = names[tensor.dtype.name]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    data = b"".join(tensor.tobytes() for tensor in tensors.values())
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("method", ["linear", "ties"])
def test_block_fp8(folder, method):
    tensors, dense = load_file("eu/" + WEIGHTS), {}
    quantised = {}
    for name, tensor in tensors.items():
        if ".layers." in name and tensor.ndim == 2:
            quantised[name], quantised[f"{name}_scale_inv"], dense[name] = blocks_of(tensor, 5)
        else:
            quantised[name] = dense[name] = tensor
    save_file(dense, "eu/" + WEIGHTS)
    given = recipe(method, parameters={} if method == "linear" else {"density": 0.5})
    plain = merged(given, "plain")
    write_raw("eu/model.safetensors", quantised)
    edit_config("eu", quantization_config={"quant_method": "fp8", "weight_block_size": [5, 5]})
    assert_same(merged(given), plain)
    matrices = [tensor for name, tensor in dense.items() if f"{name}_scale_inv" in quantised]
    expected = sum(t.size for t in matrices) + sum(t.size for n, t in quantised.items() if n.endswith("_scale_inv"))
    assert counts()["eu"]["converted"] == {"tensors": 2 * len(matrices), "weights": expected}
    edit_config("eu", quantization_config={"quant_method": "fp8"})
    refused(given, "its scales are", "block of [128, 128]")


def test_mxfp4(folder):
    """As transformers dequantises gpt-oss: the values of both halves of a byte times a power of
    two, transposed.
    """
    generator = np.random.default_rng(0)
    codes, scales = (
        generator.integers(0, 256, (3, 6, 2, 16), np.uint8),
        generator.integers(120, 130, (3, 6, 2), np.uint8),
    )
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    values = np.concatenate([values, -values])
    dense = np.zeros((3, 64, 6), np.float32)
    for expert, row, group in np.ndindex(scales.shape):
        for place, code in enumerate(codes[expert, row, group]):
            for half, bits in enumerate((code & 15, code >> 4)):
                weight = values[bits] * 2.0 ** (int(scales[expert, row, group]) - 127)
                dense[expert, group * 32 + 2 * place + half, row] = weight
    name = "model.layers.0.mlp.experts.gate_up_proj"
    for model in ("instruct", "eu"):
        edit_tensors(folder / model, lambda tensors: tensors.update({name: dense}))
    plain = merged(recipe("linear"), "plain")
    tensors = load_file("eu/" + WEIGHTS)
    del tensors[name]
    write_raw("eu/model.safetensors", {**tensors, f"{name}_blocks": codes, f"{name}_scales": scales})
    assert_same(merged(recipe("linear")), plain)
    assert_covered_by_headers()


def assert_covered_by_headers() -> None:
    for model, count in counts().items():
        layout = open_checkpoint(Path(model)).layout
        assert total(count) == (len(layout.stored), sum(layout.stored.values()))


@pytest.mark.parametrize("name", ["model.layers.0.mlp.up_proj.qweight", "model.layers.0.mlp.up_proj.weight_packed"])
def test_other_quantised_weights_are_refused_by_name(folder, name):
    edit_tensors(folder / "eu", lambda tensors: tensors.update({name: np.zeros((4, 4), np.int32)}))
    edit_config("eu", quantization_config={"quant_method": "gptq"})
    refused(recipe(), f"eu/model.safetensors: {name} is of type I32, quantised with gptq", "Download the model")


# ---- meaning at equal shapes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mistral"}, ["model_type is 'mistral'", "'llama'"]),
        ({"rope_theta": 5e5}, ["rope_theta is 500000.0", "10000.0"]),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, ["rope_theta is 500000.0"]),
        ({"num_attention_heads": 4}, ["num_attention_heads is 4", "2"]),
        ({"rope_scaling": {"type": "linear", "factor": 4}}, ["rope_scaling is ('linear', 4)"]),
    ],
)
def test_other_architectures_with_equal_shapes(folder, changes, words):
    edit_config("instruct", rope_theta=1e4)
    edit_config("eu", **changes)
    message = refused(recipe(), "eu/config.json", "instruct/config.json", *words)
    allowed = message.split("add `accept: [")[1].split("]")[0]
    assert merged(recipe(accept=[allowed]))


def test_settings_that_only_one_config_gives_are_not_compared(folder):
    edit_config("instruct", rope_theta=1e4, head_dim=8)
    edit_config("eu", num_key_value_heads=None)
    assert merged(recipe())


def swap(tokens: dict[str, int], first: str, second: str) -> None:
    tokens[first], tokens[second] = tokens[second], tokens[first]


def edit_tokenizer(folder: str, change) -> None:
    path = Path(folder, "tokenizer.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_same_tokens_with_other_ids(folder):
    edit_tokenizer("eu", lambda content: swap(content["model"]["vocab"], "a", "b"))
    words = ["the tokens of eu/tokenizer.json and instruct/tokenizer.json have other ids: 2 of 258", "'a' with"]
    refused(recipe(), *words, "accept: [tokens]")
    assert merged(recipe(accept=["tokens"]))


def test_other_tokens_with_the_same_ids(folder):
    edit_tokenizer("eu", lambda content: content["model"]["vocab"].update(ZZ=content["model"]["vocab"].pop("a")))
    refused(recipe(), "other tokens under the same ids: 1, such as 'ZZ' and 'a'")


def test_a_reserved_token_may_have_another_name(folder):
    def change(content):
        vocabulary = content["model"]["vocab"]
        number = vocabulary.pop("<|im_start|>")
        content["added_tokens"] = [{"id": number, "content": "<|reserved|>", "special": True}]

    edit_tokenizer("eu", change)
    assert merged(recipe())


def test_accept_takes_differences_alone(folder):
    refused(recipe(accept=["everything"]), "accept is ['everything']", "model_type", "tokens")
    refused(recipe(accept="tokens"), "accept is 'tokens'")


# ---- towers


def with_vision(folder: Path, seed: int, layers: int = 5) -> None:
    generator = np.random.default_rng(seed)
    tower = {
        f"vision_tower.vision_model.encoder.layers.{layer}.mlp.fc1.weight": generator.normal(size=(8, 8)).astype(
            np.float32
        )
        for layer in range(layers)
    }
    edit_tensors(folder, lambda tensors: tensors.update(tower))


def test_vision_is_tokenizer_sources_unless_asked_otherwise(folder):
    for seed, name in enumerate(["instruct", "eu"]):
        with_vision(folder / name, seed)
    tensors, instruct, eu = merged(recipe()), load_file("instruct/" + WEIGHTS), load_file("eu/" + WEIGHTS)
    name = "vision_tower.vision_model.encoder.layers.4.mlp.fc1.weight"
    np.testing.assert_array_equal(tensors[name], instruct[name])
    assert counts()["instruct"]["copied"] == {"tensors": 5, "weights": 320}
    assert [each["weights"] for each in counts()["eu"]["left_out"].values()] == [320]
    assert_covered()
    tensors = merged(recipe(towers="merge"))
    np.testing.assert_allclose(tensors[name], (instruct[name] + 0.5 * eu[name]) / 1.5, rtol=1e-5, atol=1e-6)
    refused(recipe(towers="copy"), "towers is 'copy'")


def test_a_text_model_is_merged_into_one_that_sees(folder):
    plain = merged(recipe(), "plain")
    with_vision(folder / "instruct", 0)
    tensors = merged(recipe())
    assert_same({name: tensor for name, tensor in tensors.items() if "vision" not in name}, plain)
    assert_same(merged({**recipe(), "tokenizer_source": "eu"}), plain)
    assert_covered()


@pytest.mark.parametrize("method", ["linear", "layer_swap", "slices"])
def test_layers_are_counted_by_tower(folder, method):
    """With 5 layers of vision beside 2 of text, a gradient ends, and a swap begins, at the last of
    the text.
    """
    if method == "layer_swap":
        given = {"merge_method": "layer_swap", "base_model": "instruct", "models": [{"model": "eu"}]}
        given["parameters"] = {"bottom": 1, "top": 0, "transition": 0}
    elif method == "linear":
        given = recipe(weights=(1.0, [0.0, 1.0]))
    else:
        sources = [{"model": name, "layer_range": [0, 2], "parameters": {"weight": 1}} for name in ("instruct", "eu")]
        given = {"merge_method": "linear", "slices": [{"sources": sources}]}
    plain = merged(given, "plain")
    with_vision(folder / "instruct", 0)
    with_vision(folder / "eu", 1)
    tensors = merged(given)
    assert_same({name: tensor for name, tensor in tensors.items() if "vision" not in name}, plain)


# ---- the same bytes


def test_bytes_do_not_depend_on_how_a_model_is_stored(folder):
    """Another name, fused or sharded: config and weights of the result are the same."""
    merged(recipe("dare_ties", parameters={"density": 0.5}), "plain")
    rename("eu", NAMES["wrapped"])
    shard_in_two(folder / "base")
    merged(recipe("dare_ties", parameters={"density": 0.5}))
    changed = {"langmerge.json"}
    first, second = content("plain"), content("out")
    assert {name for name in first if first[name] != second[name]} == changed


# ---- nothing is lost, nothing is counted twice


def random_tree(folder: Path, generator: random.Random, seed: int) -> None:
    """A model with any of what a checkpoint may hold beside or in place of plain weights."""
    write_model(folder, seed)
    if generator.random() < 0.4:
        with_experts(folder, seed, "qwen3_moe")
        if generator.random() < 0.5:
            edit_tensors(folder, lambda tensors: replace(tensors, fused(tensors)))
    if generator.random() < 0.5:
        with_vision(folder, seed, generator.randint(1, 4))
    others = {
        "model.layers.1.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32),
        "model.layers.0.attn.masked_bias": np.float32([[-1e9]]).reshape(()),
        "model.steps": np.array([1, 2]),
        "language_model.lm_head.weight": load_file(folder / WEIGHTS)[HEAD],
    }
    chosen = {name: tensor for name, tensor in others.items() if generator.random() < 0.4}
    edit_tensors(folder, lambda tensors: tensors.update(chosen))
    if generator.random() < 0.3:
        edit_tensors(folder, lambda tensors: tensors.update({HEAD: tensors[EMBEDDINGS]}))
        edit_tensors(folder, lambda tensors: tensors.pop("language_model.lm_head.weight", None))
        edit_config(folder, tie_word_embeddings=generator.choice([True, False]))
    change = NAMES[generator.choice(list(NAMES))] if generator.random() < 0.5 else None
    if change:
        rename(str(folder), lambda name: change(name) if name.startswith(("model.", "lm_head.")) else name)
    if generator.random() < 0.5:
        shard_in_two(folder)


def test_random_trees_are_counted_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = random.Random(0)
    fitting = 0
    for number in range(60):
        for seed, name in enumerate(["instruct", "eu"]):
            shutil.rmtree(name, ignore_errors=True)
            random_tree(tmp_path / name, generator, seed)
        try:
            merge = Merge(read_recipe(recipe(accept=["model_type"])), 0, 10**9)
        except UserError:
            continue
        fitting += 1
        for checkpoint, count in zip(merge.checkpoints, merge.coverage(), strict=True):
            stored = {n: t for file in Path(checkpoint.name).glob("*.safetensors") for n, t in load_file(file).items()}
            assert total(count) == (len(stored), sum(tensor.size for tensor in stored.values())), number
            reasons = checkpoint.layout.left_out
            taken = {name for uses in checkpoint.layout.uses.values() for name in uses}
            assert {*stored} == {*reasons} | taken and not {*reasons} & taken
        written = {name: tensor.size for shard in merge.shards for name, tensor in shard.items()}
        places = [merge.plan.place(name) for name in (*merge.plan.merged, *merge.plan.copied)]
        assert {place.name for place in places} | {merge.plan.place(name).name for name in merge.plan.buffers} == {
            *written
        }
    assert fitting >= 15
