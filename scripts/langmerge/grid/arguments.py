"""What the jobs' commands are told: arguments of `langmerge merge` and `corpus`, files of
`langmerge batch`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from langmerge.grid.batches import Batch
from langmerge.grid.grid import Grid
from langmerge.grid.results import Result
from langmerge.live.batch import BatchFile, BatchModel, Making, Searched, Wanted
from langmerge.model import Model


def merge(grid: Grid, model: Model) -> list[str]:
    """The recipe of a cell, the seed, the key, and where its anatomy takes task vectors from."""
    base = grid.recipes.anatomy_base(model.backbone)
    arguments = [json.dumps(grid.recipes.merge(model)), "--anatomy", str(grid.layout.anatomy(model.id))]
    arguments += ["--seed", str(grid.config["seed"]), "--key", grid.identity.model_key(model)]
    return [*arguments, *(["--anatomy-base", str(grid.layout.model(base))] if base else [])]


def batch(grid: Grid, planned: Batch) -> BatchFile:
    """The models and tasks of an evaluation job, and how they are asked."""
    questions: list[dict[str, Any]] = []
    numbers: dict[tuple[str, ...], int] = {}

    def question(result: Result) -> int:
        # A batch's models are of one kind, so that the languages say what is asked.
        key = grid.tasks.shards(result.model)[result.shard]
        if key not in numbers:
            numbers[key] = len(questions)
            tasks = grid.results.tasks_of(result)
            questions.append(
                {
                    "tasks": tasks,
                    "datasets": {name: str(folder) for name, folder in grid.tasks.datasets(tasks).items()},
                    "include": [str(folder) for folder in grid.tasks.include(tasks)],
                }
            )
        return numbers[key]

    def described(model: Model, results: Iterable[Result]) -> BatchModel:
        folder = grid.layout.model(model)
        return BatchModel(
            id=model.id,
            columns=model.columns(),
            folder=str(folder),
            key=grid.identity.model_key(model),
            given=not folder.is_relative_to(grid.layout.root),
            chat_template=grid.tasks.chat_template(model),
            parts=str(grid.layout.parts(model.id)),
            samples=str(grid.layout.samples(model.id)),
            results=[Wanted(str(result.path), question(result)) for result in results],
            making=making(grid, model) if grid.recipes.in_memory(model) else None,
        )

    models = [described(model, results) for model, results in planned.work]
    searches = [
        Searched(
            name=pool.name,
            record=str(pool.record),
            cells={model.id: grid.searches.candidate(model) for model in pool.cells},
            instruct=described(grid.searches.instruct(pool.cells[0]), []),
            languages=grid.searches.languages(pool.cells[0]),
            evaluated=grid.expansion.of_search(pool.cells[0]),
            **{name: grid.settings.search[name] for name in ("measures", "keep", "budget")},
        )
        for pool in planned.pools
    ]
    return BatchFile(grid.tasks.backend(planned.models[0]), questions, models, searches)


def making(grid: Grid, model: Model) -> Making:
    """How a cell is merged in memory."""
    base = grid.recipes.anatomy_base(model.backbone)
    return Making(
        recipe=grid.recipes.merge(model),
        seed=grid.config["seed"],
        recipe_file=str(grid.layout.recipe(model.id)),
        record=str(grid.layout.merge_record(model.id)),
        anatomy=str(grid.layout.anatomy(model.id)),
        anatomy_base=str(grid.layout.model(base)) if base else None,
    )


def tokenizer(grid: Grid, backbone: str) -> list[str]:
    """The tokenizer of a backbone, and the token that ends a document."""
    folder, end = grid.corpora.tokenizer(backbone), grid.corpora.document_end(backbone)
    # With =, because the token may start with a dash.
    return ["--tokenizer", str(folder), f"--document-end={end}"]


def tokenise(grid: Grid, corpus: str, backbone: str) -> list[str]:
    """The backbone's tokenizer, and the search whose documents are left out, if they are."""
    searched = ["--contamination", str(grid.layout.corpus_step(corpus, "searched"))]
    return [*tokenizer(grid, backbone), *(searched if grid.corpora.by_name[corpus].drops else [])]


def select(grid: Grid, corpus: str) -> list[str]:
    """The tokenizer that a budget of tokens is counted with; nothing for another budget."""
    backbone = grid.corpora.budget_tokenizer(grid.corpora.by_name[corpus])
    return tokenizer(grid, backbone) if backbone else []
