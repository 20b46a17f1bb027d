# What the rules share: the grid of this run, and how a rule's wildcards become a model.

import gc
import inspect
import json
import os
import shlex
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "workflow")]

from common import UserError
from grid import REFERENCES, Grid, Model
from snakemake.common import overwrite_function_params
from snakemake.exceptions import WorkflowError
from snakemake.resources import Resource

# For grids of thousands of jobs (tests/benchmarks/bench_dag.py). Their objects are millions, none of them garbage: looking for some took an
# eighth of a dry run's time.
gc.set_threshold(1_000_000, 50, 1000)


def known(function):
    """A function whose parameters Snakemake need not look up for every job, which Python works out anew each time."""
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


# It is asked for every resource of every job.
known(Resource.evaluate)

# Relative to the working directory, so that neither commands nor their records hold a path of this machine.
SCRIPTS, CONFIG = os.path.relpath(ROOT / "scripts"), os.path.relpath(ROOT / "config")

try:
    grid = Grid(config, ROOT / "config", source=", ".join(map(str, workflow.configfiles)))
except UserError as error:
    raise WorkflowError(str(error)) from None

RUN = str(grid.root)

# For the report's captions: a list, also where the command line gave one word.
config["languages"], config["backbones"] = grid.languages, list(grid.config["backbones"])

# Snakemake's own resource, which merge jobs hold (SNAKEMAKE.md, "Bounding live temporary models"); --resources overrides it.
if "live_merges" not in workflow.global_resources:
    workflow.register_resource("live_merges", grid.config["live_merges"])


wildcard_constraints:
    language=r"[A-Za-z0-9_-]+",
    backbone=r"[^/]+",
    reference="|".join(REFERENCES),
    method="|".join(grid.config["methods"]),
    variant=r"[^/]+",
    target=r"[^/]+",
    weight=r"[0-9.e-]+",
    shard=r"[A-Za-z0-9_-]+",
    fingerprint=r"[0-9a-f]{12}",


def model_of(wildcards):
    """The model that a rule's wildcards name."""
    variant = wildcards.get("reference") or wildcards.get("method") or wildcards.get("variant")
    name = f"{wildcards.backbone}/{variant}/{wildcards.target}/w{wildcards.weight}"
    if name not in grid.models:
        raise WorkflowError(f"{name} is not in this run: add its languages, methods and weights to the configuration.")
    return grid.models[name]


def resource(rule, name, default):
    """What the backbone's file says that a job of a rule asks for; memory and time grow with each attempt.

    A number where it is the same for all jobs: a function is called for each.
    """
    asked = {grid.resources(rule, backbone).get(name, default) for backbone in grid.config["backbones"]}
    if name in ("mem_mb", "runtime"):
        return known(lambda wildcards, attempt: grid.resources(rule, wildcards.backbone).get(name, default) * attempt)
    return asked.pop() if len(asked) == 1 else lambda wildcards: grid.resources(rule, wildcards.backbone).get(name, default)


def resources(rule):
    """Memory, time and GPUs of a rule; those only where a backbone of the run asks for them, for Snakemake asks for each of every job."""
    defaults = {"mem_mb": 4000, "runtime": 60}
    if any("gpu" in grid.resources(rule, backbone) for backbone in grid.config["backbones"]):
        defaults["gpu"] = 0
    return {name: resource(rule, name, default) for name, default in defaults.items()}


def whole_run(wildcards):
    """The run, for scripts that look at all of it: as YAML text, with what the command line changed."""
    return json.dumps(grid.config)


def write_lines(path, lines):
    """Names for a job whose command line could not hold them all."""
    Path(path).write_text("".join(f"{line}\n" for line in lines))


def of_any_age(paths):
    """A fetched folder is what its revision says, whenever it came: fetching the cache again makes nothing else out of date."""
    fetched = {repository["folder"] for repository in grid.repositories}
    return [ancient(path) if path in fetched else path for path in paths]


def training_inputs(wildcards):
    """A training's corpora, and the model that it starts from or the tokenizer."""
    recipe = grid.training(model_of(wildcards))
    return of_any_age([*recipe["data"], recipe.get("from") or recipe["tokenizer"]])


@known
def evaluation_inputs(wildcards):
    """The model, the tasks and their data sets; for a result that exists, a name that no rule makes.

    Snakemake then takes the result for a source file, and never asks for a merged checkpoint that is long deleted. Only
    the main process may look: in a job that runs a group, the result may be there because that very job has written it.
    """
    model = model_of(wildcards)
    result = grid.result(model, wildcards.shard)
    if not result.endswith(f".{wildcards.fingerprint}.json"):
        raise WorkflowError(f"{model.id}: the configuration has changed; its {wildcards.shard} result is now {result}.")
    if workflow.is_main_process and os.path.exists(result):
        return {"model": "sealed"}
    return {
        "model": grid.path(model),
        "tasks": grid.task_folders(model, wildcards.shard),
        "datasets": list(grid.datasets(grid.shards(model)[wildcards.shard]).values()),
    }


# One function for all that depends on the model: Snakemake calls each anew for every job, and with thousands that is felt.


@known
def merge_options(wildcards):
    """What merge.py is told of a cell: its recipe, the random numbers' seed, and where task vectors are taken from in its anatomy."""
    base = grid.anatomy_base(wildcards.backbone)
    recipe = shlex.quote(json.dumps(grid.recipe(model_of(wildcards))))
    return f"{recipe} --seed {grid.config['seed']}{f' --anatomy-base {shlex.quote(base)}' if base else ''}"


@known
def evaluation_options(wildcards):
    """What evaluate.py is told of a model's shard."""
    model = model_of(wildcards)
    tasks = grid.shards(model)[wildcards.shard]
    given = {
        "tasks": tasks,
        "datasets": grid.datasets(tasks),
        "provenance": {"cell": grid.cell(model)},
        "backend": grid.backbone(model.backbone).get("backend", {}),
    }
    options = " ".join(f"--{name} {shlex.quote(json.dumps(value))}" for name, value in given.items())
    return f"--key {grid.model_key(model)} {options}{' --chat-template' if grid.chat_template(model) else ''}"


def finished_results(wildcards):
    """The sealed results that are there."""
    found = [result for result in grid.results if os.path.exists(result)]
    if not found:
        raise WorkflowError(f"{RUN}: no evaluation is finished yet, so there is nothing to draw. `snakemake status` tells how far it is.")
    return found


def figure_with_gaps(name):
    """A figure that has room for every weight of the run, also for those that no finished cell has."""
    figure = grid.figure(name)
    weights = {model.weight for model in grid.models.values() if len(model.target) == 1 and model.method in figure["methods"]}
    return {"weights": sorted(weights), **figure}
