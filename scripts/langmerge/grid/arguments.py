"""What the jobs' commands are told: arguments of `langmerge merge`, `evaluate` and `corpus`."""

from __future__ import annotations

import json

from langmerge.grid.grid import Grid
from langmerge.model import Model


def merge(grid: Grid, model: Model) -> list[str]:
    """The recipe of a cell, the seed, the key, and where its anatomy takes task vectors from."""
    base = grid.recipes.anatomy_base(model.backbone)
    arguments = [json.dumps(grid.recipes.merge(model))]
    arguments += ["--seed", str(grid.config["seed"]), "--key", grid.identity.model_key(model)]
    return [*arguments, *(["--anatomy-base", str(grid.layout.model(base))] if base else [])]


def evaluate(grid: Grid, model: Model, shard: str) -> list[str]:
    """The tasks of a shard, what they read, and how the model is asked."""
    tasks = grid.tasks.of_shard(model, shard)
    given = {
        "tasks": tasks,
        "datasets": {name: str(folder) for name, folder in grid.tasks.datasets(tasks).items()},
        "provenance": {"cell": model.columns()},
        "backend": grid.tasks.backend(model),
    }
    arguments = [word for name, value in given.items() for word in (f"--{name}", json.dumps(value))]
    arguments += ["--key", grid.identity.model_key(model)]
    arguments += [] if grid.layout.model(model).is_relative_to(grid.layout.root) else ["--given"]
    arguments += ["--include", *map(str, grid.tasks.include(tasks))]
    return [*arguments, *(["--chat-template"] if grid.tasks.chat_template(model) else [])]


def tokenizer(grid: Grid, backbone: str) -> list[str]:
    """The tokenizer of a backbone, and the token that ends a document."""
    folder, end = grid.corpora.tokenizer(backbone), grid.corpora.document_end(backbone)
    # With =, because the token may start with a dash.
    return ["--tokenizer", str(folder), f"--document-end={end}"]


def select(grid: Grid, corpus: str) -> list[str]:
    """The tokenizer that a budget of tokens is counted with; nothing for another budget."""
    backbone = grid.corpora.budget_tokenizer(grid.corpora.by_name[corpus])
    return tokenizer(grid, backbone) if backbone else []
