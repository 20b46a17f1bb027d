"""The recipe of a merge, in mergekit's YAML: what is in it, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import UserError
from merging.methods import METHODS, Method, check_parameters
from merging.registry import Arguments, check_names

KEYS = ("merge_method", "models", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source")
DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        given: the recipe as it was given.
        models: folders of the models, the base not among them: it has no task vector, so listing it changes nothing.
        arguments: of the method; a per-model one has a value for each of `models`.
        dtype: type that is written, None for that of the tokenizer_source's tensors. The arithmetic is always fp32.
    """

    given: Mapping[str, Any]
    method: Method
    base: Path | None
    models: tuple[Path, ...]
    arguments: Arguments
    dtype: str | None
    tokenizer_source: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every model that takes part: the base first, if there is one."""
        return ((self.base,) if self.base else ()) + self.models


def read_recipe(given: Any) -> Recipe:
    """Check a recipe as YAML gave it.

    Raises:
        UserError: it asks for what there is not, or lacks what the method needs; the message names the key.
    """
    if not isinstance(given, dict):
        raise UserError(f"a recipe is a mapping with the keys {', '.join(KEYS)}; found a {type(given).__name__}.")
    check_keys(given)
    method = read_method(given)
    base = read_base(given, method)
    entries = [read_entry(entry, index) for index, entry in enumerate(read_list(given, "models"))]
    folders = [folder for folder, _ in entries]
    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f"models: {folder} is listed twice. List it once, with the sum of its weights.")
    for folder, parameters in entries:
        if folder == base:
            check_names(method, parameters, str(folder), method.per_model)
    others = [(folder, parameters) for folder, parameters in entries if folder != base]
    method.check_count(len(others) + bool(base))
    models = tuple(folder for folder, _ in others)
    arguments = check_parameters(
        method,
        [parameters for _, parameters in others],
        read_mapping(given, "parameters", "parameters"),
        names=[str(folder) for folder in models],
    )
    return Recipe(
        given=given,
        method=method,
        base=base,
        models=models,
        arguments=arguments,
        dtype=read_dtype(given, "out_dtype") or read_dtype(given, "dtype"),
        tokenizer_source=read_tokenizer_source(given, folders, base),
    )


def check_keys(given: Mapping[str, Any]) -> None:
    parameters = {name for method in METHODS.values() for name in (*method.per_model, *method.overall)}
    for key in given:
        if key in parameters:
            raise UserError(f"{key} stands at the top of the recipe, where it would do nothing. Move it under `parameters`.")
        if key not in KEYS:
            raise UserError(f"the key {key!r} is not supported. Supported: {', '.join(KEYS)}.")


def read_method(given: Mapping[str, Any]) -> Method:
    name = given.get("merge_method")
    if name not in METHODS:
        found = "merge_method is missing" if name is None else f"unknown merge_method {name!r}"
        raise UserError(f"{found}. There are: {', '.join(sorted(METHODS))}.")
    return METHODS[name]


def read_base(given: Mapping[str, Any], method: Method) -> Path | None:
    base = given.get("base_model")
    if method.needs_base and base is None:
        raise UserError(f"{method.name} needs a base_model: the model that the others were trained from. Add it.")
    if not method.needs_base and base is not None:
        raise UserError(
            f"base_model: {method.name} takes no base. Remove it; to take the tokenizer from that model, list it and name it as tokenizer_source."
        )
    return None if base is None else read_folder(base, "base_model")


def read_entry(entry: Any, index: int) -> tuple[Path, Mapping[str, Any]]:
    where = f"models[{index}]"
    if not isinstance(entry, dict) or "model" not in entry:
        raise UserError(f"{where} is {entry!r}, expected a mapping with `model` and, if need be, `parameters`.")
    unknown = [key for key in entry if key not in ("model", "parameters")]
    if unknown:
        raise UserError(f"{where}: the key {unknown[0]!r} is not supported. Supported: model, parameters (and in it, weight and the like).")
    return read_folder(entry["model"], f"{where}.model"), read_mapping(entry, "parameters", f"{where}.parameters")


def read_folder(value: Any, where: str) -> Path:
    if not isinstance(value, str) or not value:
        raise UserError(f"{where} is {value!r}, expected the path of a local model folder.")
    return Path(value)


def read_list(given: Mapping[str, Any], key: str) -> list[Any]:
    value = given.get(key)
    if not isinstance(value, list) or not value:
        raise UserError(f"{key} is {value!r}, expected a list of {{model: folder, parameters: {{...}}}}.")
    return value


def read_mapping(given: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = {} if given.get(key) is None else given[key]
    if not isinstance(value, dict):
        raise UserError(f"{where} is {value!r}, expected a mapping of parameters to values.")
    return value


def read_dtype(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is not None and value not in DTYPES:
        raise UserError(f"{key} is {value!r}, expected one of {', '.join(DTYPES)}.")
    return value


def read_tokenizer_source(given: Mapping[str, Any], folders: list[Path], base: Path | None) -> Path:
    known = [*folders, *([base] if base and base not in folders else [])]
    if "tokenizer_source" not in given:
        return folders[0]
    source = given["tokenizer_source"]
    if not isinstance(source, str) or Path(source) not in known:
        raise UserError(f"tokenizer_source is {source!r}, expected one of the recipe's models: {', '.join(map(str, known))}.")
    return Path(source)
