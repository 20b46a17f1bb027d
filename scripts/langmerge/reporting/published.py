"""The papers' published numbers (config/published/<paper>), each with the cell of a run that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from langmerge.errors import UserError
from langmerge.reporting.scores import Model

MAPPING = "published.yaml"
AVERAGE = "avg"
"""The language of an average over each language's own merge in its own language, whose target is EACH."""

EACH = "each"


class Number(NamedTuple):
    """A published number and where it belongs; `language` is the one that the model was tested in."""

    table: str
    model: Model
    language: str
    measure: str
    value: float


class Paper(NamedTuple):
    """What a paper published: its name, a remark on comparing with it or "", its numbers."""

    source: str
    note: str
    numbers: list[Number]


def read_published(folder: Path) -> Paper:
    """Read the numbers of a folder with CSV tables and their mapping, published.yaml.

    Raises:
        UserError: no such folder, or a table or its mapping is not what its kind needs.
    """
    path = folder / MAPPING
    if not path.is_file():
        known = ", ".join(sorted(other.parent.name for other in folder.parent.glob(f"*/{MAPPING}")))
        raise UserError(f"{path}: no such file. Published numbers are there for: {known}.")
    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
        numbers = [
            number._replace(table=name.removeprefix("table").strip("_"))
            for name, kind in mapping["tables"].items()
            for line in pd.read_csv(folder / f"{name}.csv", dtype={"language": str}, keep_default_na=False).to_dict(
                "records"
            )
            for number in KINDS[kind](line, mapping)
        ]
        return Paper(mapping["source"], mapping.get("note", ""), numbers)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}, or a table that it names, cannot be read ({type(error).__name__}: {error}). Compare it with those of the other papers."
        ) from error


def cell(line: dict[str, Any], mapping: dict[str, Any]) -> Model:
    """Return the model of a line with the columns backbone, variant, language and, for merges, method."""
    if line["variant"] != "merge":
        return Model(line["backbone"], line["variant"], line["language"])
    target = line["test_language"] if line["language"] == "target" else line["language"]
    return merged(line["backbone"], line["method"], target, mapping)


def merged(backbone: str, method: str, target: str, mapping: dict[str, Any]) -> Model:
    """Return a published merge's model in the run; `target` is a language, multi or EACH."""
    entry = mapping["methods"][method]
    kind = "multi" if target == "multi" else "each"
    languages = "+".join(sorted(mapping["languages"])) if target == "multi" else target
    return Model(backbone, entry["method"], languages, float(entry["weights"][kind]))


def columns(line: dict[str, Any]) -> list[str]:
    """Return the columns of a line that hold scores."""
    return [name for name in line if name not in ("backbone", "variant", "language", "method", "measure")]


def adapted(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """A column a language: benchmark accuracy."""
    for name in columns(line):
        yield Number("", cell(line, mapping), name, "benchmark", line[name])


def merges(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """A column a measure and language: benchmark_eu, mt_eu."""
    for name in columns(line):
        measure, language = name.split("_")
        yield Number("", cell(line, mapping), language, measure, line[name])


def ifeval(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """A line a test language, with the mean over seeds."""
    yield Number("", cell(line, mapping), line["test_language"], "ifeval", line["mean"])


def methods(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """A line a measure and method: each language's own merge, and the average."""
    for name in columns(line):
        target = EACH if name == AVERAGE else name
        yield Number("", merged(line["backbone"], line["method"], target, mapping), name, line["measure"], line[name])


def models(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """A line a model and a column a score, which the mapping explains one by one."""
    model = Model(**mapping["models"][line["model"]])
    for name, place in mapping["columns"].items():
        yield Number("", model._replace(weight=float(model.weight)), place["language"], place["measure"], line[name])


KINDS = {"adapted": adapted, "merges": merges, "ifeval": ifeval, "methods": methods, "models": models}
