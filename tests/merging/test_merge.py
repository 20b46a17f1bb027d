"""`langmerge merge` on checkpoints of a tiny Llama: what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from langmerge.merging.sources import open_checkpoint
from support.merging import (
    CONFIG,
    content,
    edit_tensors,
    merged,
    recipe,
    run,
    write_model,
)
from support.paths import ROOT

SCRIPT = ROOT / "scripts" / "merge.py"


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
        "library_name": "transformers",
        "tags": ["merge", "langmerge"],
    }
    assert yaml.safe_load(card.split("```yaml")[1].split("```")[0]) == given


def test_provenance(folder):
    (folder / "eu" / "langmerge.json").write_text('{"revision": "abc123"}')
    merged(recipe(), "out", "--seed", "7")
    provenance = json.loads(Path("out/langmerge.json").read_text())
    digest = subprocess.run(["sha256sum", "eu/model.safetensors"], capture_output=True, text=True).stdout.split()[0]
    weights = {
        "merged": {"tensors": 21, "weights": sum(tensor.size for tensor in load_file("eu/model.safetensors").values())}
    }
    expected = {"model": "eu", "revision": "abc123", "sha256": {"model.safetensors": digest}, "weights": weights}
    assert provenance["sources"][1] == expected
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
    # bf16 has 8 bits: 1 + 2^-8 lies half-way between 1 (even) and 1 + 2^-7; 1 + 3 * 2^-8 between 1
    # + 2^-7 and 1 + 2^-6 (even)
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
