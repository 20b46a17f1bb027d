"""Groups of tasks: each member is evaluated by itself, and the group has one score, their mean.

No torch and no lm-eval, so that a dry run knows the members too. lm-eval's own groups are not taken
apart: only those with a YAML file here or in a folder of the user's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from langmerge.diagnostics import added_up
from langmerge.errors import UserError
from langmerge.evaluation.taskfiles import SHIPPED, TaskFile, content_key, find
from langmerge.evaluation.units import Unit, digest
from langmerge.files import write_bytes

HALVES = ("dev", "test")


def expanded(entry: dict[str, Any], folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The entries of a group's members, each with the key `group`; of a task, its own entry.

    A member of a group that a member is belongs to the outermost group.

    Args:
        folders: where task files are looked for, the first one first.

    Raises:
        UserError: the group's score is not the plain mean over its members.
    """
    file = None if {"flores", "prompts", "group"} & entry.keys() else find(entry["task"], folders)
    if file is None or not file.members:
        yield entry
        return
    everywhere = list(dict.fromkeys([*folders, SHIPPED]))
    settings = {key: value for key, value in entry.items() if key != "content"}
    for member in members(file, everywhere):
        content = content_key(member, everywhere)
        yield {**settings, "task": member, "group": entry["task"], **({"content": content} if content else {})}


def members(file: TaskFile, folders: Sequence[Path]) -> Iterator[str]:
    """The names of a group's tasks, those of groups in it among them."""
    if any(metric.get("weight_by_size", True) for metric in file.settings.get("aggregate_metric_list") or [{}]):
        raise UserError(
            f"{file.path}: the score of the group {file.name!r} is not the plain mean over its tasks "
            "(aggregate_metric_list, weight_by_size: false). Name its tasks instead, or write such a group."
        )
    for name in file.members:
        own = find(name, folders)
        yield from members(own, folders) if own is not None and own.members else [name]


def gathered(
    units: Sequence[Unit], parts: Sequence[dict[str, Any]], samples: Path | None = None
) -> list[dict[str, Any]]:
    """The scores of a result, from its units' parts: those of a group's members become one.

    Args:
        parts: one for each unit.
        samples: the folder of the units' answers. Those of the members are put together into one
            file, named as that of any score is.
    """
    scores: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for name, part in zip(map(name_of, units), parts, strict=True):
        scores.setdefault(name, []).append(part)
    return [together(name[0], found, samples) if name[0] else found[0] for name, found in scores.items()]


def name_of(unit: Unit) -> tuple[Any, ...]:
    """What a unit's score is put together by: its group first, None where it has none."""
    entry = unit.entry
    return entry.get("group"), "" if "group" in entry else entry["task"], entry["language"], entry["metric"], unit.seed


def group_files(units: Sequence[Unit], keys: Sequence[str]) -> dict[str, list[str]]:
    """For each group among some units the names of its files of answers; `keys` are the units'."""
    members = {name_of(unit): unit for unit in units if "group" in unit.entry}
    found: dict[str, list[str]] = {}
    for (group, *_), unit in members.items():
        found.setdefault(group, []).append(group_file(unit, units, keys))
    return found


def group_file(unit: Unit, units: Sequence[Unit], keys: Sequence[str]) -> str:
    """The name of the file of answers of the group that a unit is a member of; see `group_files`."""
    name = name_of(unit)
    own = [key for other, key in zip(units, keys, strict=True) if name_of(other) == name]
    return answers_file({"task": name[0], "seed": unit.seed, "key": digest(own)})


def together(group: str, parts: list[dict[str, Any]], samples: Path | None) -> dict[str, Any]:
    """The score of a group: the plain mean over its members, with the error of a mean of
    independent scores.
    """
    same = {name: parts[0][name] for name in ("language", "measure", "metric", "seed")}
    hashes = {name: digest([part[name] for part in parts]) for name in ("key", "fingerprint")}
    score = {**same, "task": group, **hashes, **mean(parts)}
    score["parts"] = {half: mean([part["parts"][half] for part in parts]) for half in HALVES}
    if all("diagnostics" in part for part in parts):
        score["diagnostics"] = added_up([part["diagnostics"] for part in parts])
    if all("fertility" in part for part in parts):
        score["fertility"] = {key: sum(part["fertility"][key] for part in parts) for key in ("words", "tokens")}
    if samples is not None:
        put_together(samples / answers_file(score), [samples / answers_file(part) for part in parts])
    return score


def mean(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Value, standard error and count of the mean over scores; those without documents do not
    count.
    """
    known = [score for score in scores if score["value"] is not None]
    errors = [score["stderr"] for score in known]
    return {
        "value": fmean(score["value"] for score in known) if known else None,
        "stderr": math.sqrt(sum(error**2 for error in errors)) / len(errors) if errors and None not in errors else None,
        "n": sum(score["n"] for score in known),
    }


def answers_file(score: dict[str, Any]) -> str:
    """Name of the file of answers behind a score."""
    seed = "" if score["seed"] is None else f".seed{score['seed']}"
    return f"{score['task']}{seed}.{score['key']}.jsonl.gz"


def put_together(whole: Path, files: list[Path]) -> None:
    """Move gzipped files into one; nothing if one of them is gone, because it was done before.

    The bytes are put behind one another: gzip reads that as the lines of all.
    """
    if not all(file.is_file() for file in files):
        return
    write_bytes(whole, b"".join(file.read_bytes() for file in files))
    for file in files:
        file.unlink()
