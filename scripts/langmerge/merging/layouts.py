"""How a checkpoint stores its tensors, and where a tensor with a common name is in it.

A layout changes names and bounds only, no weight: a tensor of one expert is a part of the one
tensor that holds all of them. So the same parts are read from any layout, merged under one name,
and written as the model whose config is used stores them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.checkpoint import DTYPES, STORED, Tensor
from langmerge.merging.computed import BlockScaled, Mxfp4, Source
from langmerge.merging.names import EXPERTS, FUSED, HEAD, cleaned, common, is_derived

FLOATS = set(DTYPES.values())
Same = Callable[[Source, Source], bool]
"""Whether two tensors have the same weights."""
DERIVED = "computed when the model is loaded"


@dataclass(frozen=True)
class Place:
    """Where a tensor with a common name is in a model's own files.

    Attributes:
        name, shape: of the tensor there, which may be larger.
        start: index in it of the first weight.
    """

    name: str
    shape: tuple[int, ...]
    start: int = 0


@dataclass
class Layout:
    """The tensors of a model by their common names, and what became of each stored tensor.

    Attributes:
        tensors: floating-point weights.
        buffers: integers and booleans, which no arithmetic applies to.
        places: of both.
        uses: for each common name, how many weights of which stored tensors it takes.
        converted: common names whose weights are not stored as they are: dequantised or adapted.
        left_out: the reason for each stored tensor that has no common name.
        stored: the number of weights of each stored tensor.
    """

    tensors: dict[str, Source] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    uses: dict[str, dict[str, int]] = field(default_factory=dict)
    converted: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, source: Source, place: Place, uses: Mapping[str, int]) -> None:
        """Add a tensor of floating-point weights.

        Raises:
            UserError: there is one with this common name.
        """
        if name in self.tensors:
            other = next(iter(self.uses[name]))
            raise UserError(
                f"{source.file}: {next(iter(uses))} and {other} are the same tensor, {name}, under two names, with different "
                "weights. Delete one of them."
            )
        self.tensors[name], self.places[name], self.uses[name] = source, place, dict(uses)


def read_layout(config: Mapping[str, Any], stored: Mapping[str, Tensor], same: Same) -> Layout:
    """The layout of a model's stored tensors.

    Raises:
        UserError: a tensor has no weights, is quantised in a way that is not supported, or is
            stored twice with different weights.
    """
    layout = Layout(stored={name: tensor.size for name, tensor in stored.items()})
    family = model_type(config)
    names = cleaned(stored)
    taken: set[str] = set()
    for original, name in names.items():
        tensor = stored[original]
        if not tensor.size:
            raise UserError(
                f"{tensor.file}: {original} has no weights (its shape is {list(tensor.shape)}). DeepSpeed's ZeRO-3 saves models "
                "like that if it does not gather them: run its zero_to_fp32.py, or save again with "
                "stage3_gather_16bit_weights_on_model_save."
            )
        if original in taken:
            continue
        if is_derived(name, tensor.shape):
            layout.left_out[original] = DERIVED
            continue
        parts = quantised_parts(original, stored)
        if parts:
            source, used = dequantised(config, original, parts, stored)
            taken |= set(used)
            own = names[parts[0]].removesuffix("_blocks")
            layout.add(common(own), source, Place(own, source.shape), used)
            layout.converted.add(common(own))
        elif tensor.dtype in FLOATS:
            add_stored(layout, family, original, name, tensor, same)
        else:
            check_buffer(config, original, tensor)
            layout.buffers[common(name)] = tensor
            layout.places[common(name)] = Place(name, tensor.shape)
            layout.uses[common(name)] = {original: tensor.size}
    return layout


def add_stored(layout: Layout, family: str, original: str, name: str, tensor: Tensor, same: Same) -> None:
    """Add a stored tensor: as it is, or the matrices of each expert."""
    experts, fused = EXPERTS.get(family), FUSED.match(name)
    if experts and fused and len(tensor.shape) == 3:
        count, rows, columns = tensor.shape
        kinds = [experts.gate, experts.up] if fused["kind"] == "gate_up_proj" else [experts.down]
        shape = rows // len(kinds), columns
        for expert in range(count):
            for index, kind in enumerate(kinds):
                start = (expert * len(kinds) + index) * prod(shape)
                own = common(f"{fused['prefix'] or ''}{experts.block}.experts.{expert}.{kind}.weight")
                layout.add(own, tensor.part(start, shape), Place(name, tensor.shape, start), {original: prod(shape)})
        return
    own = common(name)
    if experts and experts.block != "mlp":
        own = own.replace(".mlp.gate.", f".{experts.block}.gate.")
    if own in layout.tensors and same(layout.tensors[own], tensor):
        first = next(iter(layout.uses[own]))
        layout.left_out[original] = f"the same weights as {first}"
        return
    layout.add(own, tensor, Place(name, tensor.shape), {original: tensor.size})


def model_type(config: Mapping[str, Any]) -> str:
    """The family of a config's language model."""
    own = (config.get("text_config") or {}).get("model_type") or config.get("model_type") or ""
    return own.removesuffix("_text")


def head_place(layout: Layout, embeddings: str) -> Place:
    """Where an output head goes in a model that stores none: beside its word embeddings, as its
    family names it."""
    place = layout.places[embeddings]
    prefix = "language_model." if place.name.startswith("language_model.model.") else ""
    return Place(f"{prefix}{HEAD}", place.shape)


# ---- quantised weights


def quantised_parts(name: str, stored: Mapping[str, Tensor]) -> list[str]:
    """The stored tensors that make up one quantised tensor, if `name` is the first of them."""
    scales = f"{name}_scale_inv"
    if scales in stored:
        return [name, scales]
    if name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in stored:
        return [name, f"{name.removesuffix('_blocks')}_scales"]
    if name.endswith("_scale_inv") and name.removesuffix("_scale_inv") in stored:
        return [name.removesuffix("_scale_inv"), name]
    if name.endswith("_scales") and f"{name.removesuffix('_scales')}_blocks" in stored:
        return [f"{name.removesuffix('_scales')}_blocks", name]
    return []


def dequantised(
    config: Mapping[str, Any], name: str, parts: list[str], stored: Mapping[str, Tensor]
) -> tuple[Source, dict[str, int]]:
    """The dense tensor of quantised weights and their scales, and how many weights of each it
    takes."""
    weight, scales = (stored[part] for part in parts)
    used = {part: stored[part].size for part in parts}
    if parts[0].endswith("_blocks"):
        if len(weight.shape) != 4 or weight.shape[-1] != 16 or scales.shape != weight.shape[:3]:
            raise UserError(
                f"{weight.file}: {parts[0]} {list(weight.shape)} and {parts[1]} {list(scales.shape)} are not MXFP4 weights, "
                "expected [experts, rows, groups, 16] and [experts, rows, groups]."
            )
        return Mxfp4(weight, scales), used
    size = (config.get("quantization_config") or {}).get("weight_block_size") or [128, 128]
    expected = tuple(-(-length // block) for length, block in zip(weight.shape, size, strict=False))
    if len(weight.shape) != 2 or scales.shape != expected:
        raise UserError(
            f"{weight.file}: {parts[0]} is {list(weight.shape)} and its scales are {list(scales.shape)}, expected a matrix and "
            f"one scale for each block of {size} (weight_block_size of quantization_config)."
        )
    return BlockScaled(weight, scales, tuple(size)), used


def check_buffer(config: Mapping[str, Any], name: str, tensor: Tensor) -> None:
    """Refuse quantised weights, whose integers are no buffers."""
    method = (config.get("quantization_config") or {}).get("quant_method")
    small = tensor.dtype.itemsize == 1 and tensor.dtype != bool
    if method or small or name.endswith("weight"):
        how = f" with {method}" if method else ""
        raise UserError(
            f"{tensor.file}: {name} is of type {type_name(tensor)}, quantised{how}. Only floating-point weights can be merged "
            f"({', '.join(DTYPES)}), and block FP8 and MXFP4 with their scales. Download the model that was quantised, or "
            "save it as bfloat16."
        )


def type_name(tensor: Tensor) -> str:
    """The name of a tensor's type."""
    return next(name for name, dtype in STORED.items() if dtype == tensor.dtype)
