"""Writing a checkpoint's safetensors files, one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from merging.checkpoint import DTYPES, INDEX, SINGLE

NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Slot:
    """A tensor to be written."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * self.dtype.itemsize


Shard = dict[str, Slot]


def split(slots: Mapping[str, Slot], max_size: int) -> list[Shard]:
    """Fill shards of at most `max_size` bytes of tensors in the given order; a larger tensor has a shard of its own."""
    shards: list[Shard] = [{}]
    for name, slot in slots.items():
        if shards[-1] and sum(other.size for other in shards[-1].values()) + slot.size > max_size:
            shards.append({})
        shards[-1][name] = slot
    return shards


def header(shard: Shard) -> bytes:
    """A safetensors file up to its tensors' bytes, which follow in the order of `shard`."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, slot in shard.items():
        begin, end = end, end + slot.size
        entries[name] = {"dtype": NAMES[slot.dtype], "shape": list(slot.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def total_size(shards: list[Shard]) -> int:
    """Bytes that the files will have."""
    return sum(len(header(shard)) + sum(slot.size for slot in shard.values()) for shard in shards)


def write_shards(folder: Path, shards: list[Shard], compute: Callable[[str], np.ndarray]) -> None:
    """Write model.safetensors, or numbered shards with their index; `compute` gives each tensor, in its slot's type and shape."""
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = SINGLE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        where |= dict.fromkeys(shard, name)
        with (folder / name).open("wb") as file:
            file.write(header(shard))
            for tensor in shard:
                file.write(compute(tensor).reshape(-1).view(np.uint8))
    if len(shards) > 1:
        size = sum(slot.size for shard in shards for slot in shard.values())
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
