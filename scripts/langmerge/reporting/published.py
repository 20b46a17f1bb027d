"""Papers' published numbers (config/published/<paper>), each with the model of a run that it
belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from langmerge.errors import UserError
from langmerge.measures import MEASURES
from langmerge.model import REFERENCES, Model
from langmerge.yamls import read_yaml

MAPPING = "published.yaml"
AVERAGE = "avg"
"""The language of an average over each language's own merge in its own language; the target is
EACH.
"""

EACH = "each"


class Number(NamedTuple):
    """A published number and where it belongs; `language` is what the model was tested in."""

    table: str
    model: Model
    language: str
    measure: str
    value: float


class Paper(NamedTuple):
    """What a paper published: its name, a remark on comparing with it or "", and its numbers."""

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
        raise UserError(f"{path}: no such file. There are published numbers of: {known}.")
    mapping = read_yaml(path)
    try:
        numbers = [
            number._replace(table=name.removeprefix("table").strip("_"))
            for name, kind in mapping["tables"].items()
            for line in read_table(folder / f"{name}.csv")
            for number in KINDS[kind](line, mapping)
        ]
        if unknown := sorted({number.measure for number in numbers} - MEASURES.keys()):
            raise ValueError(f"unknown measure {', '.join(unknown)}; known: {', '.join(MEASURES)}")
        return Paper(mapping["source"], mapping.get("note", ""), numbers)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}, or a table that it names, cannot be read ({type(error).__name__}: {error})."
            " Compare it with those of the other papers."
        ) from error


def read_table(path: Path) -> list[dict[str, Any]]:
    """The lines of a published table."""
    return pd.read_csv(path, dtype={"language": str}, keep_default_na=False).to_dict("records")


def cell(line: dict[str, Any], mapping: dict[str, Any]) -> Model:
    """The model of a line with the columns backbone, variant, language and, for merges, method."""
    if line["variant"] != "merge":
        return Model(line["backbone"], line["variant"], (line["language"],) if line["language"] else ())
    target = line["test_language"] if line["language"] == "target" else line["language"]
    return merged(line["backbone"], line["method"], target, mapping)


def merged(backbone: str, method: str, target: str, mapping: dict[str, Any]) -> Model:
    """The run's model of a published merge; `target` is a language, multi or EACH."""
    entry = mapping["methods"][method]
    kind = "multi" if target == "multi" else "each"
    languages = tuple(sorted(mapping["languages"])) if target == "multi" else (target,)
    return Model(backbone, entry["method"], languages, float(entry["weights"][kind]))


def columns(line: dict[str, Any]) -> list[str]:
    """The columns of a line that hold scores."""
    return [name for name in line if name not in ("backbone", "variant", "language", "method", "measure")]


def adapted(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """One column per language: benchmark accuracy."""
    for name in columns(line):
        yield Number("", cell(line, mapping), name, "benchmark", line[name])


def merges(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """One column per measure and language, such as benchmark_eu and mt_eu."""
    for name in columns(line):
        measure, language = name.split("_")
        yield Number("", cell(line, mapping), language, measure, line[name])


def ifeval(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """One line per test language, with the mean over seeds."""
    yield Number("", cell(line, mapping), line["test_language"], "ifeval", line["mean"])


def methods(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """One line per measure and method: each language's own merge, and the average."""
    for name in columns(line):
        target = EACH if name == AVERAGE else name
        yield Number("", merged(line["backbone"], line["method"], target, mapping), name, line["measure"], line[name])


def models(line: dict[str, Any], mapping: dict[str, Any]) -> Iterator[Number]:
    """One line per model and one column per score, which the mapping explains one by one."""
    entry = mapping["models"][line["model"]]
    if (entry["method"] in REFERENCES) == ("weight" in entry):
        raise ValueError(f"models.{line['model']}: merges have a weight, reference models have none")
    model = Model.of_columns({"target": "", "weight": None, **entry})
    for name, column in mapping["columns"].items():
        yield Number("", model, column["language"], column["measure"], line[name])


KINDS = {"adapted": adapted, "merges": merges, "ifeval": ifeval, "methods": methods, "models": models}
