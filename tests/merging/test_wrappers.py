"""Wrappers and experts as transformers makes them: the merge loads as the same class, and its
logits are those of a merge by transformers and torch.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from langmerge.merging.coverage import total
from langmerge.merging.names import of_language_model
from langmerge.merging.sources import open_checkpoint
from support.merging import TEXT, merged, write_model

VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
VISION |= {"image_size": 28, "patch_size": 14}
QWEN_VISION = {"depth": 3, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 16}


def gemma3():
    config = transformers.Gemma3Config(text_config={**TEXT, "sliding_window": 16}, vision_config=VISION)
    return transformers.Gemma3ForConditionalGeneration(config)


def mistral3():
    vision = {**VISION, "model_type": "pixtral", "head_dim": 8}
    config = transformers.Mistral3Config(
        text_config={**TEXT, "model_type": "mistral"}, vision_config=vision, tie_word_embeddings=False
    )
    return transformers.Mistral3ForConditionalGeneration(config)


def qwen_vl():
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    config = transformers.Qwen2_5_VLConfig(text_config={**TEXT, "rope_parameters": rope}, vision_config=QWEN_VISION)
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def qwen3_moe():
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "decoder_sparse_step": 1}
    return transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**TEXT, **experts))


MAKERS = {"gemma3": gemma3, "mistral3": mistral3, "qwen_vl": qwen_vl, "qwen3_moe": qwen3_moe}


def renamed(folder: str, names) -> None:
    """Save a model's weights again, as another version of transformers names or fuses them."""
    path = Path(folder, "model.safetensors")
    save_file(names(load_file(path)), path, {"format": "pt"})


def in_memory(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names that transformers has had inside since version 4.52."""
    result = {}
    for name, tensor in tensors.items():
        if name.startswith("language_model."):
            name = name.replace("language_model.model.", "model.language_model.").replace(
                "language_model.lm_head", "lm_head"
            )
        elif name.startswith(("visual.", "vision_tower.", "multi_modal_projector.")):
            name = f"model.{name}"
        elif name.startswith("model.") and any(other.startswith("visual.") for other in tensors):
            name = name.replace("model.", "model.language_model.", 1)
        result[name] = tensor
    return result


def fused(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    result = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for layer in range(2):
        prefix = f"model.layers.{layer}.mlp.experts"
        each = [
            torch.stack([tensors[f"{prefix}.{e}.{name}_proj.weight"] for e in range(4)])
            for name in ("gate", "up", "down")
        ]
        result[f"{prefix}.gate_up_proj"] = torch.cat(each[:2], dim=1)
        result[f"{prefix}.down_proj"] = each[2]
    return result


@pytest.fixture
def models(tmp_path, monkeypatch, request):
    """The models instruct and eu of a kind, with tokenizers."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    write_model(tmp_path / "texts", 0)
    made = {}
    for seed, name in enumerate(["instruct", "eu"]):
        torch.manual_seed(seed)
        made[name] = MAKERS[request.param]().eval()
        made[name].save_pretrained(name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            Path(name, file).write_bytes(Path("texts", file).read_bytes())
    return request.param, made


@pytest.mark.parametrize("models", MAKERS, indirect=True)
def test_logits_are_those_of_a_merge_by_torch(models):
    kind, made = models
    given = {
        "merge_method": "linear",
        "models": [
            {"model": "instruct", "parameters": {"weight": 1}},
            {"model": "eu", "parameters": {"weight": 0.5}},
        ],
        "out_dtype": "float32",
    }
    plain = merged(given, "plain")
    reference, other = made["instruct"], made["eu"].state_dict()
    weights = reference.state_dict()
    for name, tensor in weights.items():
        if of_language_model(name):
            weights[name] = (tensor + 0.5 * other[name]) / 1.5
    reference.load_state_dict(weights)
    tokens = torch.tensor([[1, 40, 50, 60, 70, 80, 90, 100]])
    with torch.no_grad():
        expected = reference(input_ids=tokens).logits
    change = fused if kind == "qwen3_moe" else in_memory
    for which in ((), ("eu",), ("instruct", "eu")):
        for name in which[:1]:
            renamed(name, change)
        merged(given)
        loaded, report = type(reference).from_pretrained("out", output_loading_info=True)
        assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        with torch.no_grad():
            torch.testing.assert_close(loaded.eval()(input_ids=tokens).logits, expected, rtol=1e-5, atol=1e-6)
        for source in json.loads(Path("out/langmerge.json").read_text())["sources"]:
            layout = open_checkpoint(Path(source["model"])).layout
            assert total(source["weights"]) == (len(layout.stored), sum(layout.stored.values()))
    again, expected_names = merged(given), change({name: torch.from_numpy(tensor) for name, tensor in plain.items()})
    assert again.keys() == expected_names.keys()
    for name, tensor in expected_names.items():
        assert torch.equal(tensor, torch.from_numpy(again[name])), name
