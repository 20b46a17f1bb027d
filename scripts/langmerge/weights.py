"""Which files of a model's folder hold its weights. Light: it imports no numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmerge.errors import UserError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """The sorted safetensors files of a model: model.safetensors, or the shards of an index.

    Raises:
        UserError: as `weight_map`.
    """
    shards = weight_map(folder)
    return [folder / SINGLE] if shards is None else sorted({folder / name for name in shards.values()})


def weight_map(folder: Path) -> Mapping[str, str] | None:
    """The name of each tensor's shard, as the index says; None where one file holds all.

    Raises:
        UserError: there are no weights, or only PyTorch's; two sets of them; the index is not one,
            or a shard is missing.
    """
    index = folder / INDEX
    if not index.is_file():
        check_single(folder)
        return None
    if (folder / SINGLE).is_file():
        raise UserError(
            f"{folder} holds two sets of weights, {SINGLE} and that of {INDEX}. transformers would load the first one, "
            "vLLM the other. Delete the one that is out of date."
        )
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


def check_single(folder: Path) -> None:
    """Refuse a folder without model.safetensors."""
    if (folder / SINGLE).is_file():
        return
    pytorch = next((path.name for path in sorted(folder.glob("*.bin"))), None)
    if pytorch:
        raise UserError(
            f"{folder} has only PyTorch weights ({pytorch}), expected {SINGLE}. Convert them: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder) writes safetensors."
        )
    raise UserError(f"{folder} holds neither {SINGLE} nor {INDEX}: there are no weights.")


def read_json(path: Path) -> Mapping[str, Any]:
    """The content of a JSON file of a model's folder.

    Raises:
        UserError: it is missing, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Give the folder of a model in Hugging Face format.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}, expected a JSON object.")
    return value
