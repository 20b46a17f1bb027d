"""Names of tensors: one name for a tensor, however a checkpoint calls it.

Groups publish the same model under several names: transformers has moved the language model inside
of multimodal wrappers, and the tools that save models leave marks of their own. The common name is
that of the language model alone (`model.layers.0...`, `lm_head.weight`); the other towers keep
theirs without a `model.` before it. The tables follow `conversion_mapping` of transformers 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

HEAD = "lm_head.weight"
EMBEDDINGS = ("model.embed_tokens.weight", "transformer.wte.weight", "model.decoder.embed_tokens.weight")
"""The word embeddings that an output head may be a copy of."""

TOWER = r"(?:vision|visual|image|video|audio|speech|multi_modal|multimodal|mm|embed_vision|embed_audio)"
OTHER_TOWER = re.compile(rf"(?:^|\.){TOWER}(?:_[a-z_]+)?\.|(?:^|\.)(?:vit|perceiver|resampler|image_newline)(?:\.|$)")
"""In the names of tensors that are not of the language model: vision, audio, and what connects
them."""

COMMON = [
    (re.compile(r"^language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^(?:model\.)?language_model\.(?:model\.)?"), "model."),
    (re.compile(rf"^model\.(?={TOWER}(?:_[a-z_]+)?(?:\.|$))"), ""),
    (re.compile(r"^(vision_tower|image_tower|video_tower)\.vision_model\."), r"\1."),
]

DERIVED = re.compile(
    r"\.rotary_(?:pos_)?emb\.(?:inv_freq|original_inv_freq|cos_cached|sin_cached)$|(?:^|\.)embeddings\.position_ids$"
)
"""Buffers that a model computes from its config when it is loaded."""
CAUSAL_MASK = re.compile(r"\.(?:attn|attention)\.(?:bias|masked_bias)$")


def cleaned(names: Iterable[str]) -> dict[str, str]:
    """Each name without what torch.compile (_orig_mod.) and data parallelism (module. before all
    names) have left in it."""
    plain = {name: name.replace("_orig_mod.", "") for name in names}
    if plain and all(name.startswith("module.") for name in plain.values()):
        plain = {name: own.removeprefix("module.") for name, own in plain.items()}
    return plain


def common(name: str) -> str:
    """The common name of a tensor with a cleaned name."""
    for pattern, replacement in COMMON:
        name = pattern.sub(replacement, name, count=1)
    return name


def is_derived(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is computed when a model is loaded: frequencies of rotary embeddings,
    positions, and causal masks (which have a shape that no bias has)."""
    is_mask = shape == () or (len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3])
    return bool(DERIVED.search(name) or (CAUSAL_MASK.search(name) and is_mask))


def of_language_model(name: str) -> bool:
    """Whether a tensor with a common name belongs to the language model, and not to another
    tower."""
    return not OTHER_TOWER.search(name)


# ---- experts

FUSED = re.compile(r"^(?P<prefix>.*\.)?mlp\.experts\.(?P<kind>gate_up_proj|down_proj)$")
QWEN_EXPERTS = [
    "afmoe",
    "cohere2_moe",
    "deepseek_v2",
    "deepseek_v3",
    "dots1",
    "ernie4_5_moe",
    "exaone_moe",
    "flex_olmo",
    "glm4_moe",
    "glm4_moe_lite",
    "glm4v_moe",
    "hunyuan_v1_moe",
    "longcat_flash",
    "olmoe",
    "qwen2_moe",
    "qwen3_moe",
    "qwen3_next",
    "qwen3_omni_moe",
    "solar_open",
]
MIXTRAL_EXPERTS = ["minimax", "minimax_m2", "mixtral"]


@dataclass(frozen=True)
class ExpertNames:
    """How a family publishes the experts that transformers holds as one tensor in memory.

    Attributes:
        block: the module of router and experts.
        gate, up, down: the matrices of one expert.
    """

    block: str
    gate: str
    up: str
    down: str


EXPERTS = {
    **dict.fromkeys(QWEN_EXPERTS, ExpertNames("mlp", "gate_proj", "up_proj", "down_proj")),
    **dict.fromkeys(MIXTRAL_EXPERTS, ExpertNames("block_sparse_moe", "w1", "w3", "w2")),
}
"""By model type. Families that publish fused experts are not here: they have no other layout."""
