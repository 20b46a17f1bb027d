"""Batches of cells, as the workflow writes them: merged in memory, or their checkpoints on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from langmerge.live.batch import BatchFile, BatchModel, Making, Searched, Wanted
from langmerge.merging.engine import Merge
from langmerge.merging.recipe import read_recipe
from langmerge.model import Model
from support.merging import recipe

CELLS = {
    "linear/eu/w0.25": ("linear", 0.25, {}),
    "linear/eu/w0.5": ("linear", 0.5, {}),
    "linear/eu/w1": ("linear", 1.0, {}),
    "task_arithmetic/eu/w0.5": ("task_arithmetic", 0.5, {}),
    "dare/eu/w0.5": ("dare_ties", 0.5, {"density": 0.5}),
    "breadcrumbs/eu/w1": ("breadcrumbs", 1.0, {"density": 0.9, "gamma": 0.01}),
}
"""Six cells: method, weight and parameters."""

TASKS = [
    {"task": "mini_grammar_eu", "language": "eu", "measure": "benchmark", "metric": "acc", "chat_template": False},
    {
        "task": "mini_ifeval_eu",
        "language": "eu",
        "measure": "ifeval",
        "metric": "inst_level_strict_acc",
        "seeds": [21, 22],
        "generation": {"temperature": 0.5, "top_p": 1, "top_k": 0, "max_gen_toks": 8},
    },
]

BACKEND = {"backend": "hf", "dtype": "float32", "batch_size": 8, "max_length": 448}


def given(parents: Path, name: str) -> dict:
    """The recipe of a cell."""
    method, weight, parameters = CELLS[name]
    found = recipe(method, weights=(1.0, weight), parameters=parameters, out_dtype="bfloat16")
    for entry in found["models"]:
        entry["model"] = str(parents / entry["model"])
    named = {key: str(parents / found[key]) for key in ("base_model", "tokenizer_source") if key in found}
    return {**found, **named}


def batch(parents: Path, tasks: Path, folder: Path, in_memory: bool, **backend: object) -> Path:
    """Write the batch of all cells; with their checkpoints, unless they are merged in memory."""
    models = []
    for name in CELLS:
        key = f"key of {name}"
        making = Making(
            recipe=given(parents, name),
            seed=1,
            recipe_file=str(folder / "recipes" / f"{name}.yaml"),
            record=str(folder / "recipes" / f"{name}.json"),
            anatomy=str(folder / "anatomy" / f"{name}.parquet"),
            anatomy_base=str(parents / "base"),
        )
        checkpoint = folder / "models" / name
        if not in_memory:
            merge = Merge(read_recipe(making.recipe), 1, 5 * 10**9, key)
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            merge.write(checkpoint, 1, True, Path(making.anatomy), parents / "base")
        models.append(
            BatchModel(
                id=f"tiny/{name}",
                columns={"backbone": "tiny"},
                folder=str(checkpoint),
                key=key,
                given=False,
                chat_template=True,
                parts=str(folder / "scores" / name / "tasks"),
                samples=str(folder / "samples" / name),
                results=[Wanted(str(folder / "scores" / name / "eu.json"), 0)],
                making=making if in_memory else None,
            )
        )
    file = folder / "batches" / "tiny" / "all.json"
    question = {"tasks": TASKS, "datasets": {}, "include": [str(tasks)]}
    BatchFile({**BACKEND, **backend}, [question], models).write(file)
    return file


def search_batch(parents: Path, tasks: Path, folder: Path, budget: float = 1.0, keep: float = 0.0) -> Path:
    """Write the batch of a search among the cells of the linear method. Beside it are
    instruct.json, which evaluates the model that they are compared with, and grid.json, which
    evaluates all of the cells.
    """
    cells = batch(parents, tasks, folder, in_memory=True, batch_size=1)
    content = BatchFile.read(cells)
    linear = [model for model in content.models if "/linear/" in model.id]
    models = [replace(model, columns={**Model.parse(model.id).columns(), "backbone": "tiny"}) for model in linear]
    instruct = replace(
        linear[0],
        id="tiny/instruct/none/w0",
        columns=Model("tiny", "instruct").columns(),
        folder=str(parents / "instruct"),
        key="key of instruct",
        given=True,
        parts=str(folder / "scores" / "instruct" / "tasks"),
        samples=str(folder / "samples" / "instruct"),
        results=[Wanted(str(folder / "scores" / "instruct" / "eu.json"), 0)],
        making=None,
    )
    search = Searched(
        name="tiny/linear/eu",
        record=str(folder / "searches" / "eu.json"),
        cells={model.id: [model.columns["weight"]] for model in models},
        instruct=replace(instruct, results=[]),
        measures=["benchmark"],
        languages=["eu"],
        evaluated=["eu"],
        keep={"ifeval": keep} if keep else {},
        budget=budget,
    )
    BatchFile(content.backend, content.questions, [instruct]).write(cells.with_name("instruct.json"))
    BatchFile(content.backend, content.questions, models).write(cells.with_name("grid.json"))
    file = cells.with_name("search.json")
    BatchFile(content.backend, content.questions, models, [search]).write(file)
    return file


def files(folder: Path, *names: str) -> dict[str, bytes]:
    """The files below some of a folder's folders, by their paths in it; not what a killed process
    was writing, which has a name of its own.
    """
    found = (path for name in names for path in (folder / name).rglob("*") if path.is_file())
    paths = [path for path in found if ".partial-" not in path.name]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}
