"""LoRA adapters in PEFT's format, added to the model that they were trained on.

Source: LoRA, arXiv 2106.09685; names and files as PEFT 0.17 saves them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.checkpoint import Tensor, read_header
from langmerge.merging.computed import Adapted
from langmerge.merging.layouts import FLOATS, Layout, Place, head_place
from langmerge.merging.names import EMBEDDINGS, HEAD, cleaned, common
from langmerge.weights import ADAPTER, ADAPTER_CONFIG, read_json

PREFIX = "base_model.model."
FACTOR = re.compile(r"^(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.default)?(?:\.weight)?$")
SAVED = re.compile(r"\.(?:modules_to_save(?:\.default)?|original_module|base_layer)\.")
REFUSED = {
    "use_dora": "a DoRA adapter, whose magnitudes belong to the merged weights",
    "lora_bias": "a LoRA adapter with biases of its own (lora_bias)",
    "alora_invocation_tokens": "an activated LoRA, which is not part of the weights",
    "trainable_token_indices": "an adapter with trained rows of single tokens (trainable_token_indices)",
    "target_parameters": "an adapter of parameters that are not in a layer of their own (target_parameters)",
    "megatron_config": "an adapter of a Megatron model",
}
"""What makes an adapter one that cannot be read here."""


def add_adapter(layout: Layout, folder: Path, model: Path) -> None:
    """Add an adapter to a model's layout: theta + scale B A for adapted matrices, and
    what the adapter saves of other modules in their place.

    Raises:
        UserError: the folder is no LoRA adapter, of a kind that is not supported, or of another
            model.
    """
    config = read_config(folder, model)
    path = folder / ADAPTER
    if not path.is_file():
        raise UserError(f"{path} is missing. Save the adapter as safetensors: PEFT's save_pretrained does by default.")
    stored = read_header(path)
    layout.stored |= {name: tensor.size for name, tensor in stored.items()}
    factors: dict[str, dict[str, tuple[str, Tensor]]] = {}
    plain = {original: own.removeprefix(PREFIX) for original, own in cleaned(stored).items()}
    for original, name in plain.items():
        tensor = stored[original]
        if tensor.dtype not in FLOATS or not tensor.size:
            raise UserError(f"{path}: {original} has no floating-point weights. Train or save the adapter again.")
        match = FACTOR.match(name)
        if match:
            side = f"{match['side']}{' of an embedding' if match['embedding'] else ''}"
            factors.setdefault(match["module"], {})[side] = original, tensor
        elif "lora_" in name:
            raise UserError(f"{path}: {original} is of a kind of adapter that is not supported. {INSTEAD}")
        else:
            replace(layout, original, SAVED.sub(".", name), tensor, path, model)
    for module, pair in factors.items():
        adapt(layout, module, pair, config, path, model)


INSTEAD = "Add it to its model with PEFT (merge_and_unload, then save_pretrained), and name that folder as the model."


def read_config(folder: Path, model: Path) -> Mapping[str, Any]:
    """An adapter's config; refused unless it is a plain LoRA."""
    config = read_json(folder / ADAPTER_CONFIG)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UserError(f"{folder} is an adapter of the type {kind!r}, expected LORA. {INSTEAD}")
    for key, what in REFUSED.items():
        if config.get(key):
            raise UserError(f"{folder} is {what}. {INSTEAD}")
    return config


def replace(layout: Layout, original: str, name: str, tensor: Tensor, path: Path, model: Path) -> None:
    """Put a tensor that the adapter saves as a whole in the place of the model's: a module of
    modules_to_save, or a bias."""
    own = common(name)
    if own not in layout.tensors:
        embeddings = next((name for name in EMBEDDINGS if name in layout.tensors), None)
        if own != HEAD or not embeddings:
            raise not_of(model, path, original, own)
        layout.places[own] = head_place(layout, embeddings)
    else:
        rows_differ = layout.tensors[own].shape[1:] != tensor.shape[1:]
        if rows_differ or (layout.tensors[own].shape != tensor.shape and own not in (HEAD, *EMBEDDINGS)):
            raise UserError(
                f"{path}: {original} is {list(tensor.shape)}, and {own} of {model} is {list(layout.tensors[own].shape)}. The "
                "adapter was trained on another model."
            )
        for stored in layout.uses[own]:
            layout.left_out[stored] = "replaced by the adapter"
    layout.tensors[own], layout.uses[own] = tensor, {original: tensor.size}
    layout.places[own] = Place(layout.places[own].name, tensor.shape)


def adapt(
    layout: Layout,
    module: str,
    pair: Mapping[str, tuple[str, Tensor]],
    config: Mapping[str, Any],
    path: Path,
    model: Path,
) -> None:
    """Add scale B A to the weight of a module."""
    embedding = "A of an embedding" in pair
    sides = [f"{side}{' of an embedding' if embedding else ''}" for side in "AB"]
    if set(pair) != set(sides):
        raise UserError(f"{path}: of {module} it has only {', '.join(pair)}, expected both factors. Save it again.")
    (a_name, a), (b_name, b) = (pair[side] for side in sides)
    own = common(f"{module}.weight")
    if own not in layout.tensors:
        raise not_of(model, path, a_name, own)
    weight = layout.tensors[own]
    transposed = embedding or bool(config.get("fan_in_fan_out"))
    expected = [b.shape[0], a.shape[1]] if len(a.shape) == len(b.shape) == 2 else None
    if (
        expected is None
        or list(weight.shape) != (expected[::-1] if transposed else expected)
        or a.shape[0] != b.shape[1]
    ):
        raise UserError(
            f"{path}: the factors of {module} are {list(a.shape)} and {list(b.shape)}, and {own} of {model} is "
            f"{list(weight.shape)}. The adapter was trained on another model."
        )
    layout.tensors[own] = Adapted(weight, a, b, scale_of(module, a.shape[0], config, path), transposed)
    layout.uses[own] = layout.uses[own] | {a_name: a.size, b_name: b.size}
    layout.converted.add(own)


def scale_of(module: str, rank: int, config: Mapping[str, Any], path: Path) -> float:
    """lora_alpha / r, or / sqrt(r) with rank-stabilised LoRA; patterns give a module values of its
    own."""
    expected = pattern_value(config.get("rank_pattern"), module, config.get("r"))
    if expected != rank:
        raise UserError(
            f"{path}: the factors of {module} have rank {rank}, and its config says {expected}. Save it again."
        )
    alpha = pattern_value(config.get("alpha_pattern"), module, config.get("lora_alpha"))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise UserError(f"{path.parent / ADAPTER_CONFIG}: lora_alpha is {alpha!r}, expected a number.")
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def pattern_value(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """The value of the first pattern that matches the end of a module's name, as in PEFT."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def not_of(model: Path, path: Path, original: str, own: str) -> UserError:
    return UserError(
        f"{path}: {original} belongs to {own}, which {model} does not have. The adapter was trained on another model."
    )
