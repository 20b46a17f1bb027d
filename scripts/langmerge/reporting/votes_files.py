"""The files of blind votes: the key of a page, and what voters save there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from langmerge.errors import UserError
from langmerge.faults import shown
from langmerge.model import Model
from langmerge.reporting.votes import CHOICES

Keys = Mapping[str, dict[str, Any]]
"""Keys of pages, by the pages' names."""


def mapping(**properties: Any) -> dict[str, Any]:
    """The schema of a JSON object that has these keys."""
    return {"type": "object", "required": [*properties], "properties": properties}


TEXT = {"type": "string"}
PAIR = mapping(task=TEXT, document=TEXT, part=TEXT, left=TEXT, right=TEXT)
KEY = mapping(
    page=TEXT,
    language=TEXT,
    cells={"type": "array", "items": TEXT, "minItems": 2},
    items={"type": "object", "additionalProperties": PAIR},
    identical={"type": "array", "items": PAIR},
)
VOTES = mapping(
    page=TEXT, voter=TEXT, votes={"type": "array", "items": mapping(item=TEXT, choice={"enum": [*CHOICES]})}
)


def read_keys(paths: Iterable[Path]) -> Keys:
    """The keys of a run's pages, as `ballot.Ballot` describes them.

    Raises:
        UserError: a file is no such key.
    """
    return {key["page"]: key for key in map(read_key, paths)}


def read_key(path: Path) -> dict[str, Any]:
    key, fault = checked(path, KEY)
    if not fault:
        cells = key["cells"]
        if wrong := [cell for cell in cells if not is_id(cell)]:
            fault = f"{shown(wrong[0])} is not the id of a model"
        sides = {pair[side] for pair in (*key["items"].values(), *key["identical"]) for side in ("left", "right")}
        if unknown := sides - {*cells}:
            fault = f"{shown(min(unknown))} is none of its cells"
    if fault:
        raise UserError(
            f"{path} is not the key of a page as this version of langmerge writes it: {fault}. Write it again by the same call "
            "of `langmerge votes make`, or remove it."
        )
    return key


def is_id(text: str) -> bool:
    """Whether a text can be the id of a model."""
    try:
        return bool(Model.parse(text))
    except ValueError:
        return False


def read_votes(paths: Iterable[Path], keys: Keys) -> dict[str, dict[str, dict[str, str]]]:
    """The votes in files: page -> voter -> item -> choice.

    Raises:
        UserError: not a file of votes, of a page that this run does not have, or of a voter who
            has another file.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    sources: dict[tuple[str, str], Path] = {}
    for path in paths:
        content, fault = checked(path, VOTES)
        if fault:
            raise UserError(
                f"{path} is not a file of votes as its page saves them: {fault}. Ask the voter for it again."
            )
        name, voter = content["page"], content["voter"]
        if name not in keys:
            known = ", ".join(keys) or "none"
            raise UserError(
                f"{path} has votes of the page {shown(name)}, which this run does not have; it has {known}."
            )
        votes: dict[str, str] = {}
        for vote in content["votes"]:
            if vote["item"] not in keys[name]["items"]:
                raise UserError(f"{path} has a vote on {shown(vote['item'])}, which is no item of its page.")
            if votes.setdefault(vote["item"], vote["choice"]) != vote["choice"]:
                raise UserError(f"{path} has two votes on {vote['item']}, which differ. Leave one of them out.")
        if (other := sources.setdefault((name, voter), path)) != path:
            raise UserError(
                f"{path} and {other} are both votes of {shown(voter)} on the page {name}. Leave one of them out."
            )
        found.setdefault(name, {})[voter] = votes
    return found


def checked(path: Path, schema: Mapping[str, Any]) -> tuple[Any, str]:
    """The content of a JSON file, and what does not fit the schema, "" if it does."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(content))
        if error is None:
            return content, ""
        is_value = error.validator in ("type", "enum")
        what = f"found {shown(error.instance)}, expected {error.validator_value}" if is_value else error.message
        return None, f"{error.json_path}: {what}"
    except (OSError, ValueError, RecursionError) as error:
        return None, str(error)
