"""Which files of a folder hold a model's weights."""

from __future__ import annotations

import json
from pathlib import Path

from langmerge.errors import UserError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that a model in Hugging Face format consists of, sorted.

    Raises:
        UserError: there are no weights, only PyTorch's, two sets of them, or a shard is missing.
    """
    single, index = folder / SINGLE, folder / INDEX
    if single.is_file() and index.is_file():
        raise UserError(
            f"{folder} holds two sets of weights: {SINGLE}, which transformers would load, and the shards of {INDEX}, which "
            "vLLM would load. Delete the files of the one that is out of date."
        )
    if single.is_file():
        return [single]
    if index.is_file():
        return shards(index)
    old = next((path.name for path in sorted(folder.glob("*.bin"))), None)
    if old:
        raise UserError(
            f"{folder} has only PyTorch weights ({old}), expected {SINGLE}. Convert them: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder) writes safetensors."
        )
    raise UserError(f"{folder} holds neither {SINGLE} nor {INDEX}: there are no weights.")


def shards(index: Path) -> list[Path]:
    """The files that an index names, all of which are there."""
    return sorted({index.parent / name for name in weight_map(index).values()})


def weight_map(index: Path) -> dict[str, str]:
    """For each tensor the file that holds it, as an index says.

    Raises:
        UserError: it is no index, or names a file that is elsewhere or missing.
    """
    try:
        found = json.loads(index.read_bytes()).get("weight_map")
    except (ValueError, RecursionError, AttributeError) as error:
        raise UserError(f"{index} is not a JSON object: {error}. Download the model again.") from None
    if not isinstance(found, dict) or not found:
        raise UserError(f"{index} has no weight_map, which names each tensor's shard. Download the model again.")
    for name in sorted(set(map(str, found.values()))):
        if Path(name).name != name:
            raise UserError(
                f"{index} names {name!r} as a shard, expected a file of its own folder. Do not trust this model."
            )
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent / name} is missing, a shard that {INDEX} names. Download the model again.")
    return found
