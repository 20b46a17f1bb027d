"""Reading a checkpoint: a folder with config.json and safetensors files, of which one tensor at a time is in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from langmerge.errors import UserError

DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F64": np.dtype(np.float64),
}
"""safetensors' names of the types that can be merged."""

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MAX_HEADER = 100_000_000  # bytes; the safetensors library's own limit


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: `offset` bytes into `file`."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder, its config.json, and its tensors by name."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def files(self) -> list[Path]:
        """The weight files."""
        return sorted({tensor.file for tensor in self.tensors.values()})


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint's config and the headers of its weight files.

    Raises:
        UserError: the folder, a file or a tensor is missing, or a file is not what its header says.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such model folder. Models are merged from local folders: download it first, or mend the path."
        )
    config = read_json(folder / "config.json")
    if not (folder / INDEX).is_file():
        return Checkpoint(folder, config, read_header(single_file(folder)))
    where = read_json(folder / INDEX).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise UserError(
            f"{folder / INDEX} has no weight_map, which names each tensor's shard. Download the model again."
        )
    shards = {}
    for name in sorted(set(map(str, where.values()))):
        if Path(name).name != name:
            raise UserError(
                f"{folder / INDEX} names {name!r} as a shard, expected a file of its own folder. Do not trust this model."
            )
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing, a shard that {INDEX} names. Download the model again.")
        shards[name] = read_header(folder / name)
    for tensor, name in where.items():
        if tensor not in shards[name]:
            raise UserError(
                f"{folder / name}: {tensor} is not in this shard, although {INDEX} says so. Download the model again."
            )
    return Checkpoint(folder, config, {tensor: shards[name][tensor] for tensor, name in where.items()})


def single_file(folder: Path) -> Path:
    if (folder / SINGLE).is_file():
        return folder / SINGLE
    old = next((path.name for path in sorted(folder.glob("*.bin"))), None)
    if old:
        raise UserError(
            f"{folder} has only PyTorch weights ({old}), expected {SINGLE}. Convert them: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder) writes safetensors."
        )
    raise UserError(f"{folder} holds neither {SINGLE} nor {INDEX}: there are no weights to merge.")


def read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Give the folder of a model in Hugging Face format.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}, expected a JSON object.")
    return value


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: 8 bytes with the header's length, a JSON header, then the tensors' bytes, without gaps or overlaps.

    Headers come from strangers, so nothing in them is believed before it is checked against the file.

    Raises:
        UserError: it is no such file, its length is not what the header says, or a tensor is of a type that cannot be merged.
    """
    found = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER or found < 8:
            raise garbage(path)
        if found < 8 + length:
            raise truncated(path, 8 + length, found, "at least ")
        text = file.read(length)
    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=partial(without_duplicates, path))
    except (ValueError, RecursionError):
        raise garbage(path) from None
    if not isinstance(entries, dict):
        raise garbage(path)
    entries.pop("__metadata__", None)
    spans = {name: read_span(path, entry) for name, entry in entries.items()}
    expected = 8 + length + max((end for *_, end in spans.values()), default=0)
    if found != expected:
        raise truncated(path, expected, found)
    tensors = {name: read_entry(path, name, 8 + length, *span) for name, span in spans.items()}
    place = 0
    for name, (_, _, begin, end) in sorted(spans.items(), key=lambda item: item[1][2:]):
        if begin != place:
            what = "overlaps the tensor before it" if begin < place else "leaves a gap before it"
            raise UserError(
                f"{path}: {name} begins at byte {begin} and {what}, which ends at {place}. Download the file again."
            )
        place = end
    return tensors


def without_duplicates(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of a header. Of two tensors with one name, different readers would take different ones."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}: its header has {twice!r} twice. Download the file again.")
    return entries


def read_span(path: Path, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """A tensor's type, shape, beginning and end as the header gives them, each of the type that it must be."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise garbage(path)
    shape, offsets = entry["shape"], entry["data_offsets"]
    if (
        not isinstance(entry["dtype"], str)
        or not isinstance(shape, list)
        or not isinstance(offsets, list)
        or len(offsets) != 2
    ):
        raise garbage(path)
    # type() and not isinstance: true and false are integers to Python.
    if any(type(number) is not int or number < 0 for number in (*shape, *offsets)) or offsets[0] > offsets[1]:
        raise garbage(path)
    return entry["dtype"], tuple(shape), offsets[0], offsets[1]


def read_entry(path: Path, name: str, data: int, dtype: str, shape: tuple[int, ...], begin: int, end: int) -> Tensor:
    if dtype not in DTYPES:
        raise UserError(
            f"{path}: {name} is of type {dtype}. Only floating-point weights can be merged: {', '.join(DTYPES)} (not quantised ones)."
        )
    if end - begin != prod(shape) * DTYPES[dtype].itemsize:
        raise UserError(
            f"{path}: {name} is {dtype} {list(shape)}, but the header gives it {end - begin} bytes. Download the file again."
        )
    return Tensor(path, DTYPES[dtype], shape, data + begin)


def truncated(path: Path, expected: int, found: int, at_least: str = "") -> UserError:
    return UserError(
        f"{path}: the header says {at_least}{expected} bytes, the file has {found}. Download or copy it again."
    )


def garbage(path: Path) -> UserError:
    with path.open("rb") as file:
        start = file.read(16)
    return UserError(
        f"{path} is not a safetensors file (it starts with {start!r}). Download it again; for a Git LFS pointer, run git lfs pull."
    )
