"""What one evaluation job does: a file that the workflow writes and `langmerge batch` reads.

A batch is a list of models of one backbone, each with the results that are wanted of it, or a list
of searches among them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.files import write_text


@dataclass(frozen=True)
class Making:
    """How a cell is merged where nothing is written.

    Attributes:
        recipe: in mergekit's YAML, as data; its tokenizer_source is the model that is loaded.
        seed: of the random numbers.
        recipe_file: where the recipe is kept.
        record: where the merge's record and digests are kept.
        anatomy: the file for statistics of the merge; anatomy_base: the model from which task
            vectors are taken there, None where there is none.
    """

    recipe: dict[str, Any]
    seed: int
    recipe_file: str
    record: str
    anatomy: str
    anatomy_base: str | None


@dataclass(frozen=True)
class Wanted:
    """A result: its file, and which of the batch's `questions` it answers."""

    path: str
    question: int


@dataclass(frozen=True)
class BatchModel:
    """One model of a batch.

    Attributes:
        id: its name in the run; columns: the same for tables.
        folder: its checkpoint; of a cell that is merged in memory, the model that is loaded.
        key: identity of its weights. given: the run was given it, and did not make it.
        parts, samples: where finished units and their answers are kept.
        making: None for a checkpoint.
    """

    id: str
    columns: dict[str, Any]
    folder: str
    key: str
    given: bool
    chat_template: bool
    parts: str
    samples: str
    results: list[Wanted]
    making: Making | None = None


@dataclass(frozen=True)
class Searched:
    """A search among some of the batch's models (search/race.py).

    Attributes:
        name: backbone, method and languages.
        record: the file of what it finds.
        cells: ids of the models that it chooses among, each with what varies: its weight and the
            variables of its method.
        instruct: the model that they are compared with, whose results are there.
        measures, languages: what it takes the score from. evaluated: the languages that a cell that
            is found is evaluated in. keep: which share of the instruct model's score in a measure a
            cell must have. budget: the share of all documents of all cells that may be asked.
    """

    name: str
    record: str
    cells: dict[str, list[float]]
    instruct: BatchModel
    measures: list[str]
    languages: list[str]
    evaluated: list[str]
    keep: dict[str, float]
    budget: float


@dataclass(frozen=True)
class BatchFile:
    """What one evaluation job does.

    Attributes:
        backend: settings of the engine.
        questions: {tasks, datasets, include} of each set of tasks.
        models: in the order in which they are evaluated.
        searches: if there are any, only the models that they ask are evaluated.
    """

    backend: dict[str, Any]
    questions: list[dict[str, Any]]
    models: list[BatchModel]
    searches: list[Searched] = field(default_factory=list)

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> BatchFile:
        """What `write` has written.

        Raises:
            UserError: there is no such file, or something else has written it.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            models = list(map(read_model, content["models"]))
            searches = [
                Searched(**{**search, "instruct": read_model(search["instruct"])})
                for search in content.get("searches", [])
            ]
            return cls(content["backend"], content["questions"], models, searches)
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file. Run `snakemake`, which writes it for the evaluations to come."
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is no batch of evaluations ({error}). Delete it, and run `snakemake` again."
            ) from None


def read_model(content: dict[str, Any]) -> BatchModel:
    """A model of a batch's file."""
    making = Making(**content["making"]) if content["making"] else None
    return BatchModel(**{**content, "results": [Wanted(**own) for own in content["results"]], "making": making})
