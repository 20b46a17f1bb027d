"""The entries of a recipe's lists and mappings: reading them, and refusing unknown keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.methods import METHODS

INSTEAD = {
    "chat_template": (
        "The result has the chat template of tokenizer_source; `chat_template_source` names another model of the recipe."
    ),
    "modules": (
        "Give the layers of the whole model as `models` or `slices`, and other values for parts of it as "
        "{filter: ..., value: ...}."
    ),
    "lora": "Name the adapter with its model: `model: folder+adapter`.",
    "input_models": "Give them as `models`: [{model: folder, parameters: {...}}].",
    "experts": "langmerge does not make mixtures of experts; mergekit-moe does.",
    "residual_weight": "mergekit 0.1.5 reads it and does nothing with it. Leave it out.",
}
"""What to do instead of using one of mergekit's keys that are not supported."""


@dataclass(frozen=True)
class Entry:
    """A model of the recipe with its own parameters; `name` is what messages call it."""

    name: str
    folder: Path
    parameters: Mapping[str, Any]


def check_keys(given: Mapping[str, Any], where: str, known: Sequence[str]) -> None:
    """Refuse unknown keys, parameters beside `parameters` among them; `where`: "" at the top."""
    parameters = {name for method in METHODS.values() for name in (*method.per_model, *method.overall)}
    for key in given:
        if key in known:
            continue
        if key in parameters:
            here = f"{where}: {key} is outside of its `parameters`" if where else f"{key} is at the top of the recipe"
            raise UserError(f"{here}, where it has no effect. Move it under `parameters`.")
        hint = INSTEAD.get(key) or f"Supported: {', '.join(known)}."
        raise UserError(f"{where}{': ' if where else ''}the key {key!r} is not supported. {hint}")


def read_entries(given: Mapping[str, Any], key: str, where: str, *needed: str) -> list[Entry]:
    """The entries of `models`, or of a slice's `sources`; `needed`: their keys beside `model`."""
    entries = [
        read_entry(entry, f"{where}[{index}]", needed)
        for index, entry in enumerate(read_list(given, key, where, "{model: folder, parameters: {...}}"))
    ]
    folders = [entry.folder for entry in entries]
    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f"{where}: {folder} is listed twice. List it once, with the sum of its weights.")
    return entries


def read_entry(entry: Any, where: str, needed: Sequence[str]) -> Entry:
    needed = ("model", *needed)
    if not isinstance(entry, dict) or any(key not in entry for key in needed):
        keys = ", ".join(f"`{key}`" for key in needed)
        raise UserError(f"{where} is {entry!r}, expected a mapping with {keys} and, if needed, `parameters`.")
    check_keys(entry, where, (*needed, "parameters"))
    folder = read_folder(entry["model"], f"{where}.model")
    return Entry(f"{where} ({folder})", folder, read_mapping(entry, "parameters", f"{where}.parameters"))


def read_folder(value: Any, where: str) -> Path:
    """A model: the path of its folder, `model+adapter`, or what mergekit makes of that in its own
    recipes, {model: {path: folder}, lora: {path: folder}}."""
    if isinstance(value, dict) and "model" in value:
        if value.get("override_architecture"):
            raise UserError(
                f"{where}: override_architecture has no counterpart; models are read as they are. Leave it out."
            )
        parts = [value["model"], *([value["lora"]] if value.get("lora") else [])]
        return Path("+".join(read_path(part, where) for part in parts))
    return Path(read_path(value, where))


def read_path(value: Any, where: str) -> str:
    """The path of a folder, also as mergekit writes it, {path: folder}."""
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        if value.get("revision"):
            raise UserError(
                f"{where}: revision is one of the hub; models are merged from local folders. Download it first."
            )
        value = value["path"]
    if not isinstance(value, str) or not value:
        raise UserError(f"{where} is {value!r}, expected the path of a local model folder.")
    return value


def read_list(given: Mapping[str, Any], key: str, where: str, form: str) -> list[Any]:
    value = given.get(key)
    if not isinstance(value, list) or not value:
        raise UserError(f"{where} is {value!r}, expected a list of {form}.")
    return value


def read_mapping(given: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = {} if given.get(key) is None else given[key]
    if not isinstance(value, dict):
        raise UserError(f"{where} is {value!r}, expected a mapping of parameters to values.")
    return value
