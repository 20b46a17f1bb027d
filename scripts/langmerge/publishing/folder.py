"""The folder of a published model: the merge, with the bytes that were evaluated, and what others
need to use it. Nothing in it names a path of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.files import new_directory, sha256, write_json, write_text
from langmerge.grid.grid import Grid
from langmerge.hub.repository import CARD
from langmerge.merging.card import PROVENANCE, recipe_yaml
from langmerge.merging.companions import CONFIGS
from langmerge.merging.engine import MAX_SHARD_SIZE, Merge
from langmerge.merging.recipe import Recipe, read_recipe
from langmerge.model import Model
from langmerge.publishing.licences import copy_licences
from langmerge.publishing.parents import Parent
from langmerge.weights import read_json, weight_files

LOCAL_KEYS = ("_name_or_path", "name_or_path", "is_local", "local_files_only", "_commit_hash")
"""Keys of configurations that say where a file was loaded from."""

Sealed = tuple[dict[str, str] | None, dict[str, Any]]
"""What the results of a cell say: the SHA-256 of its files, if they do; the merge's record."""


def write_model(
    grid: Grid,
    cell: Model,
    parents: list[Parent],
    sealed: Sealed,
    output: Path,
    card: Callable[[str], str],
    threads: int,
) -> None:
    """Merge a cell into a new folder, whole or not at all.

    Args:
        sealed: what was evaluated.
        card: from the recipe without local paths to the text of README.md.
        threads: how many cores a merge uses.

    Raises:
        UserError: the weights are not those that were evaluated; or see `Merge`.
    """
    recipe = read_recipe(grid.recipes.merge(cell))
    merge = Merge(recipe, grid.config["seed"], MAX_SHARD_SIZE, grid.identity.model_key(cell))
    merge.check_space(output)
    names = {parent.called: parent.name for parent in parents}
    with new_directory(output) as folder, merge.hashing() as record:
        merge.write_texts(folder)
        remove_local_keys(folder)
        check_turn(folder)
        copy_licences(parents, folder)
        merge.write_weights(folder, threads, page_cache=True, anatomies={})
        made = record()
        digests = check_weights(cell, folder, sealed, made)
        own = recipe_yaml(named(recipe, names))
        write_text(folder / "mergekit_config.yml", own)
        write_json(folder / PROVENANCE, {**renamed(made, names), "merged_sha256": digests})
        write_text(folder / CARD, card(own))
        check_paths(folder, [*(name for name in names if "/" in name), *(str(Path(name).resolve()) for name in names)])


def named(recipe: Recipe, names: Mapping[str, str]) -> Recipe:
    """The recipe with the names of its models in place of their folders."""
    return replace(recipe, given=renamed(recipe.given, names))


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A value of JSON in which texts that are folders of models are their names."""
    if isinstance(value, Mapping):
        return {key: renamed(own, names) for key, own in value.items()}
    if isinstance(value, list):
        return [renamed(own, names) for own in value]
    return names.get(value, value) if isinstance(value, str) else value


def check_weights(cell: Model, folder: Path, sealed: Sealed, made: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of the weights; refused unless they are those of the results.

    Where the run has merged on disk, its results have no digest of the weights. But the same
    sources, recipe and seed give the same bytes, and their digests are in the record.

    Args:
        made: the record of this merge.

    Raises:
        UserError: they are not.
    """
    digests, record = sealed
    own = digests_of(folder)
    if digests is not None:
        found, expected = own, digests
    else:
        found, expected = ({key: one[key] for key in ("recipe", "seed", "sources")} for one in (made, record))
        found = json.loads(json.dumps(found))
    if found != expected:
        raise UserError(
            f"{cell.id}: this merge is not the one that was evaluated. It has {json.dumps(found)}, the results are of "
            f"{json.dumps(expected)}. A model of it was changed since; discard the results with `langmerge forget` and run again."
        )
    return own


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of a model's weight files."""
    return {path.name: sha256(path) for path in weight_files(folder)}


def check_published(folder: Path, cell: Model, key: str) -> None:
    """Refuse a folder that is there and does not hold a cell as `write_model` has written it.

    Args:
        key: identity of the cell's weights.

    Raises:
        UserError: it does not.
    """
    record = read_json(folder / PROVENANCE) if (folder / PROVENANCE).is_file() else {}
    if record.get("key") != key or record.get("merged_sha256") != digests_of(folder):
        raise UserError(
            f"{folder} exists and does not hold the weights of {cell.id}. It is not touched: choose another folder with --output, "
            "or remove it."
        )


def remove_local_keys(folder: Path) -> None:
    """Remove what configurations say about where they were loaded from."""
    for path in (folder / name for name in (*CONFIGS, "generation_config.json")):
        if path.is_file():
            found = read_json(path)
            if any(key in found for key in LOCAL_KEYS):
                kept = {key: value for key, value in found.items() if key not in LOCAL_KEYS}
                write_text(path, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def check_turn(folder: Path) -> None:
    """Refuse a model that would not stop: none of its end tokens ends a turn in its chat template.

    Raises:
        UserError: there is no chat template; or the model's settings do not name the token after an
            answer.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not tokenizer.chat_template:
        raise UserError(f"{tokenizer.name_or_path} has no chat template. Add that of the instruct model to its folder.")
    answer = "Yes"
    turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": answer}]
    after = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(answer)[2]
    ends = end_tokens(folder)
    if not ends & {*tokenizer(after, add_special_tokens=False)["input_ids"]}:
        raise UserError(
            f"a turn of the chat template ends with {after!r}, which is none of the model's end tokens "
            f"({', '.join(tokenizer.convert_ids_to_tokens(sorted(ends)))}), so that answers would not end. Correct "
            "eos_token_id in generation_config.json of the instruct model."
        )


def end_tokens(folder: Path) -> set[int]:
    """The tokens that end an answer, as generation_config.json says, or else config.json."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file() and (found := read_json(folder / name).get("eos_token_id")) is not None:
            return {*found} if isinstance(found, list) else {found}
    return set()


def check_paths(folder: Path, paths: Iterable[str]) -> None:
    """Refuse texts that name a path of this machine.

    Raises:
        UserError: one does.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".safetensors"):
        content = path.read_bytes()
        for local in paths:
            if local.encode() in content:
                raise UserError(
                    f"{path.name} would name {local}, a path of this machine. It comes from a merged model: remove the path from its "
                    "file of that name."
                )
