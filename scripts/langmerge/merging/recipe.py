"""The recipe of a merge, in mergekit's YAML: reading it, and refusing what is not supported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.entries import check_keys, read_entries, read_folder, read_mapping
from langmerge.merging.methods import METHODS, Method, check_parameters
from langmerge.merging.registry import Arguments, check_names
from langmerge.merging.slices import Range, Slice, read_slices, read_stack
from langmerge.merging.tensors import TensorInfo
from langmerge.merging.unneeded import without_unneeded

OWN_KEYS = ("rows", "special_tokens", "towers", "accept", "chat_template_source")
"""Keys of langmerge's own, which mergekit ignores."""
KEYS = (
    "merge_method",
    "models",
    "slices",
    "base_model",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    *OWN_KEYS,
)
STACKING = "passthrough"
"""The method whose slices are stacked."""
DTYPES = ("float32", "float16", "bfloat16")
DIFFERENCES = (
    "model_type",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rope_theta",
    "rope_scaling",
    "tokens",
)
"""Differences in the meaning of equal shapes that a recipe may `accept` (meaning.py)."""


@dataclass(frozen=True)
class Section:
    """Layers with arguments of their own.

    Attributes:
        name: that of the slice.
        first, end: the first layer, and the one after the last; None for the model's end.
    """

    name: str
    first: int
    end: int | None
    arguments: Arguments


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        given: the recipe as it was given.
        models: folders of the models without the base: it has no task vector, so listing it changes
            nothing.
        sections: in the order of the layers. A per-model argument has a value for each of `models`.
        dtype: the type that is written, None for that of the tokenizer_source's tensors. The
            arithmetic is always fp32.
        common_rows: whether vocabularies may differ in size. Then the rows that all have are
            merged, and the rest is tokenizer_source's.
        special_tokens: the model from which the embeddings of special tokens are copied, None to
            merge them.
        other_towers: whether towers beside the language model (vision, audio) are merged, too; they
            are tokenizer_source's otherwise.
        accepted: differences that are allowed (meaning.py).
        by_token: whether rows of embeddings are matched by token: `union`, in the vocabulary of all
            models; `source`, in that of tokenizer_source; None, by their number.
        stack: the layers that are put on top of one another; none where whole models are merged.
        template_source: the model whose chat template the result has, None for tokenizer_source.
        notes: what of it changes nothing here.
    """

    given: Mapping[str, Any]
    method: Method
    base: Path | None
    models: tuple[Path, ...]
    sections: tuple[Section, ...]
    dtype: str | None
    tokenizer_source: Path
    common_rows: bool
    special_tokens: Path | None
    other_towers: bool = False
    accepted: tuple[str, ...] = ()
    by_token: str | None = None
    template_source: Path | None = None
    stack: tuple[Range, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """All models, the base first if there is one."""
        return ((self.base,) if self.base else ()) + self.models

    def arguments(self, tensor: TensorInfo) -> dict[str, Any]:
        """The method's arguments for a tensor.

        As in mergekit, a gradient goes from the first layer of a section to its last one; tensors
        before all layers (the embeddings) have the values with which the first section begins, and
        tensors after them (the last norm, the head) those with which the last section begins.
        """
        if tensor.layer is None:
            return self.sections[0 if tensor.is_embedding else -1].arguments.at(tensor)
        section = next(own for own in self.sections if own.end is None or tensor.layer < own.end)
        end = tensor.layers if section.end is None else section.end
        return section.arguments.at(replace(tensor, layer=tensor.layer - section.first, layers=end - section.first))


def read_recipe(given: Any) -> Recipe:
    """Check a recipe as YAML gave it.

    Raises:
        UserError: it has something that is not supported, or lacks something that the method needs;
            the message names the key.
    """
    if not isinstance(given, dict):
        raise UserError(f"a recipe is a mapping with the keys {', '.join(KEYS)}; found a {type(given).__name__}.")
    original = given
    given, notes = without_unneeded(given)
    check_keys(given, "", KEYS)
    method = read_method(given)
    base = read_base(given, method)
    parameters = read_mapping(given, "parameters", "parameters")
    slices, stack = read_layers(given, method)
    folders = list(dict.fromkeys([*(own.model for own in stack), *(entry.folder for entry in slices[0].entries)]))
    models = tuple(folder for folder in folders if folder != base)
    if not stack:
        method.check_count(len(models) + method.needs_base)
    known = [*folders, *([base] if base and base not in folders else [])]
    source, by_token = read_tokenizer(given, known, base)
    return Recipe(
        given=original,
        method=method,
        base=base,
        models=models,
        sections=tuple(
            read_section(part, method, base, [part.entries[0].folder] if stack else models, parameters)
            for part in slices
        ),
        dtype=read_dtype(given, "out_dtype") or read_dtype(given, "dtype"),
        tokenizer_source=source,
        common_rows=read_rows(given),
        special_tokens=read_one("special_tokens", given, known),
        other_towers=read_towers(given),
        accepted=read_accepted(given),
        by_token=by_token,
        template_source=read_one("chat_template_source", given, known),
        stack=stack,
        notes=tuple(notes),
    )


def read_layers(given: Mapping[str, Any], method: Method) -> tuple[list[Slice], tuple[Range, ...]]:
    """The models as one slice, or the slices; and what is stacked, if anything."""
    if "slices" not in given:
        return [Slice("", 0, None, read_entries(given, "models", "models"), {})], ()
    if "models" in given:
        raise UserError(
            "the recipe has both models and slices. Keep one: models, or slices if parameters differ from layer to layer."
        )
    if method.name != STACKING:
        return read_slices(given), ()
    for key in ("rows", "special_tokens", "tokenizer"):
        if key in given or (key == "tokenizer" and given.get("tokenizer_source") == "union"):
            raise UserError(f"{key}: slices of {STACKING} are put on top of one another as they are. Remove it.")
    return read_stack(given)


def read_method(given: Mapping[str, Any]) -> Method:
    name = given.get("merge_method")
    if name not in METHODS:
        fault = "merge_method is missing" if name is None else f"unknown merge_method {name!r}"
        raise UserError(f"{fault}. The methods are: {', '.join(sorted(METHODS))}.")
    return METHODS[name]


def read_base(given: Mapping[str, Any], method: Method) -> Path | None:
    base = given.get("base_model")
    if method.needs_base and base is None:
        raise UserError(f"{method.name} needs a base_model: the model that the others were trained from. Add it.")
    if not method.takes_base and base is not None:
        raise UserError(
            f"base_model: {method.name} takes no base. Remove it; to take the tokenizer from that model, list it and name "
            "it as tokenizer_source."
        )
    return None if base is None else read_folder(base, "base_model")


def read_section(
    part: Slice, method: Method, base: Path | None, models: Sequence[Path], global_parameters: Mapping[str, Any]
) -> Section:
    """A slice with the method's arguments, the per-model ones in the order of `models`."""
    for entry in part.entries:
        if entry.folder == base:
            check_names(method, entry.parameters, entry.name, method.per_model)
    entries = {entry.folder: entry for entry in part.entries}
    arguments = check_parameters(
        method,
        [entries[folder].parameters for folder in models],
        global_parameters,
        names=[entries[folder].name for folder in models],
        section=(f"{part.name}.parameters", part.parameters) if part.name else None,
    )
    return Section(part.name, part.first, part.end, arguments)


def read_dtype(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is not None and value not in DTYPES:
        raise UserError(f"{key} is {value!r}, expected one of {', '.join(DTYPES)}.")
    return value


def read_tokenizer(given: Mapping[str, Any], known: Sequence[Path], base: Path | None) -> tuple[Path, str | None]:
    """The model whose config and tokenizer the result has, and how rows are matched.

    mergekit's `tokenizer: {source: ...}` matches them by token; so does its older
    `tokenizer_source: union`. With a union, config and tokenizer are those of tokenizer_source, by
    default the base's, or the first model's.
    """
    main, by_token = given.get("tokenizer_source", known[0]), None
    if main == "union":
        main, by_token = base or known[0], "union"
    if "tokenizer" in given:
        settings = given["tokenizer"]
        if not isinstance(settings, dict) or set(settings) != {"source"}:
            raise UserError(
                f"tokenizer is {settings!r}, expected {{source: union, base or a model}}. Settings of single tokens and padding "
                "are not supported."
            )
        by_token = "union" if settings["source"] == "union" else "source"
        if by_token == "source":
            main = settings["source"]
        elif "tokenizer_source" not in given:
            main = base or known[0]
        if by_token == "source" and given.get("tokenizer_source", main) != main:
            raise UserError(
                f"tokenizer_source is {given['tokenizer_source']!r} and tokenizer.source {main!r}. Keep one: the result has config "
                "and tokenizer of the same model. For the tokens of both, write `tokenizer: {source: union}`."
            )
    if by_token:
        for key in ("rows", "special_tokens"):
            if key in given:
                raise UserError(f"{key} and merging by token (`tokenizer`) contradict each other. Remove one of them.")
    if main == "base" and base:
        return base, by_token
    hint = "; or `base`, which needs a base_model" if main == "base" else ""
    return read_model(str(main), "tokenizer_source", known, hint), by_token


def read_rows(given: Mapping[str, Any]) -> bool:
    if given.get("rows", "common") != "common":
        raise UserError(
            f"rows is {given['rows']!r}, expected common (merge the rows that all vocabularies have), or no such key: then "
            "all must have the same number of rows."
        )
    return "rows" in given


def read_towers(given: Mapping[str, Any]) -> bool:
    if given.get("towers", "merge") != "merge":
        raise UserError(
            f"towers is {given['towers']!r}, expected merge (merge vision and audio towers, too), or no such key: then they are "
            "tokenizer_source's."
        )
    return "towers" in given


def read_accepted(given: Mapping[str, Any]) -> tuple[str, ...]:
    value = given.get("accept", [])
    if not isinstance(value, list) or any(name not in DIFFERENCES for name in value):
        raise UserError(f"accept is {value!r}, expected a list of differences to allow, of: {', '.join(DIFFERENCES)}.")
    return tuple(value)


def read_one(key: str, given: Mapping[str, Any], known: Sequence[Path]) -> Path | None:
    """One of the models, if the recipe has this key."""
    return read_model(given[key], key, known) if key in given else None


def read_model(value: Any, key: str, known: Sequence[Path], hint: str = "") -> Path:
    if not isinstance(value, str) or Path(value) not in known:
        raise UserError(f"{key} is {value!r}, expected one of the recipe's models: {', '.join(map(str, known))}{hint}.")
    return Path(value)
