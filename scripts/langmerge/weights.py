"""Which files of a model's folder hold its weights. Light: it imports no numpy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmerge.errors import UserError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def weight_files(folder: Path) -> list[Path]:
    """The sorted safetensors files of a model: model.safetensors, or its shards.

    Shards need no index, because their own headers name their tensors; but all must be there.

    Raises:
        UserError: there are no weights, or only in another format; two sets of them; the index is
            not one, or a shard is missing.
    """
    single, index = (folder / SINGLE).is_file(), (folder / INDEX).is_file()
    unlisted = (
        [] if index else sorted(path.name for path in folder.glob("model-*.safetensors") if SHARD.fullmatch(path.name))
    )
    if single and (index or unlisted):
        raise UserError(
            f"{folder} holds two sets of weights, {SINGLE} and {f'that of {INDEX}' if index else unlisted[0]}. "
            "transformers would load the first one, vLLM the other. Delete the one that is out of date."
        )
    if single:
        files = [SINGLE]
    elif index:
        files = sorted(set(weight_map(folder).values()))
    elif unlisted:
        files = complete_shards(folder, unlisted)
    else:
        raise UserError(no_weights(folder))
    if (folder / ADAPTER).is_file() and (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{folder} holds a model and a LoRA adapter ({ADAPTER}), which transformers would add to it. Move the adapter "
            "and its config into a folder of its own, and name `model+adapter` if it belongs to the model."
        )
    return [folder / name for name in files]


def weight_map(folder: Path) -> Mapping[str, str]:
    """The name of each tensor's shard, as the index says.

    Raises:
        UserError: the index is not one, or a shard is missing.
    """
    index = folder / INDEX
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise UserError(f"{index} has no weight_map, which names each tensor's shard. Download the model again.")
    for name in sorted(set(map(str, shards.values()))):
        if Path(name).name != name:
            raise UserError(
                f"{index} names {name!r} as a shard, expected a file of its own folder. Do not trust this model."
            )
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing, a shard that {INDEX} names. Download the model again.")
    return shards


def complete_shards(folder: Path, names: list[str]) -> list[str]:
    """Shards that no index lists, refused unless they are all of one set."""
    counts = sorted({int(SHARD.fullmatch(name)[2]) for name in names})
    expected = [f"model-{number:05}-of-{counts[0]:05}.safetensors" for number in range(1, counts[0] + 1)]
    if len(counts) > 1:
        raise UserError(
            f"{folder} holds shards of several sets of weights ({names[0]}, {names[-1]}) and no {INDEX}, which says which "
            "are the model's. Delete those that are out of date."
        )
    if names != expected:
        missing = next((name for name in expected if name not in names), expected[-1])
        raise UserError(f"{folder / missing} is missing, and there is no {INDEX}. Download the model again.")
    return names


def no_weights(folder: Path) -> str:
    """What a folder has in place of weights that can be merged."""
    consolidated = next(iter(sorted(folder.glob("consolidated*"))), None)
    if consolidated:
        return (
            f"{folder} has weights in the original format of Mistral or Llama only ({consolidated.name}), expected {SINGLE}. "
            "Download the files for transformers of that model, or convert it with the convert_*_weights_to_hf.py of "
            "transformers."
        )
    if (folder / ADAPTER_CONFIG).is_file():
        return f"{folder} is a LoRA adapter, no model. Name it with the model that it was trained on: model+{folder} in a recipe."
    pytorch = next((path.name for path in sorted(folder.glob("*.bin"))), None)
    if pytorch:
        return (
            f"{folder} has only PyTorch weights ({pytorch}), expected {SINGLE}. Convert them: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder) writes safetensors."
        )
    gguf = next((path.name for path in sorted(folder.glob("*.gguf"))), None)
    if gguf:
        return f"{folder} has only llama.cpp's weights ({gguf}), expected {SINGLE}. Download the model that they were made of."
    return f"{folder} holds neither {SINGLE} nor {INDEX}: there are no weights."


def read_json(path: Path) -> Mapping[str, Any]:
    """The content of a JSON file of a model's folder.

    Raises:
        UserError: it is missing, not JSON, or not an object.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Give the folder of a model in Hugging Face format.") from None
    check_not_pointer(path, content)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}, expected a JSON object.")
    return value


def check_not_pointer(path: Path, start: bytes) -> None:
    """Refuse a file that begins as a Git LFS pointer does."""
    if start.startswith(LFS_POINTER):
        raise UserError(f"{path} is a Git LFS pointer, not the file itself. Run `git lfs pull` in its folder.")
