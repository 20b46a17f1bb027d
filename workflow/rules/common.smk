# What the rules share: the grid of this run, how a rule's wildcards become a job of it, and what a
# job asks for.

import json
import re
import shlex
import signal
from functools import cache
from pathlib import Path

from langmerge.controller import Controller
from langmerge.grid import arguments
from langmerge.grid.grid import Grid
from langmerge.grid.layout import CELL, job_name
from langmerge.grid.resources import DEFAULTS, GROWING, asks_for_gpus, nodes_and_gpus
from langmerge.model import REFERENCES
from langmerge.reporting.layouts import TABLE_FORMATS
from langmerge.slurm import launch
from langmerge.slurm.site import read_site

controller = Controller(workflow)
with controller.user_errors():
    controller.check_cores()
    grid = Grid(config, source=controller.configuration, documents=controller.documents())
    if controller.changes and (part := grid.narrower()):
        # Its tables stand beside those of the whole run.
        config["part"] = part
        grid = Grid(config, source=controller.configuration, documents=controller.documents())
        controller.say(
            f"{grid.layout.root}/scores.csv shows a larger grid and stays. This one's scores, tables and figures: {grid.layout.finished(False)}"
        )
    site = read_site()

layout = grid.layout
controller.announce(grid)

if controller.is_job_on_node:
    # A training's warning before its time limit reaches all processes of its job. Those that do not
    # handle it would end.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# For the captions of a report: lists, also where the command line gave one word.
config["languages"], config["backbones"] = grid.languages, grid.config["backbones"]

# Held by merges that write a checkpoint, and by its evaluation (merge.smk).
controller.limit("live_merges", grid.config["live_merges"])


wildcard_constraints:
    language=r"[A-Za-z0-9_-]+",
    backbone=r"[^/]+",
    corpus=r"[^/]+",
    method=r"[^/]+",
    target=r"[^/]+",
    weight=r"[0-9.e-]+",
    batch=r"[0-9a-f]{12}",


def any_of(names):
    """A pattern of these names; one that matches nothing if there are none, because Snakemake
    ignores an empty pattern.
    """
    return "|".join(map(re.escape, names)) or "(?!)"


def model_of(wildcards):
    """The model that a rule's wildcards name."""
    name = f"{wildcards.backbone}/{wildcards.method}/{wildcards.target}/w{wildcards.weight}"
    if name not in grid.models:
        controller.refuse(f"{name} is not in this run: add its languages, methods and weights to the configuration.")
    return grid.models[name]


def whole_run(wildcards, output):
    """The run's configuration as text, for commands that look at all of it.

    It takes `output` so that Snakemake does not count it among the parameters whose change repeats
    a job: what may repeat one is named by the rule.
    """
    return json.dumps(grid.config)


def tracked(paths):
    """Of what a job reads, the files that may repeat it by being newer.

    Those that this run makes. A fetched folder is what its revision says, whenever it came. The
    user's own folders and files are no inputs: their content is in the key of the model that is
    made from them, and dates say nothing about it.
    """
    fetched = {repository["folder"] for repository in grid.repositories}
    made = [path for path in paths if path.is_relative_to(layout.root)]
    return [*made, *(ancient(path) for path in paths if str(path) in fetched)]


def resources_of(rule, **more):
    """What a job of a rule asks for, as the backbones' files say; on a cluster also what the site's
    file says.

    Where a value is the same for all jobs, it is a number: Snakemake calls a function for each of
    thousands.
    """

    def given(wildcards, name):
        return (
            grid.resources(rule, wildcards.backbone).get(name, DEFAULTS[name])
            if "backbone" in wildcards.keys()
            else DEFAULTS[name]
        )

    def growing(name):
        return lambda wildcards, attempt: given(wildcards, name) * attempt

    def gpus(wildcards):
        # With `gres` in the site's file, the plugin must not be told of GPUs a second time.
        return 0 if controller.submits and "gres" in site.resources(1) else given(wildcards, "gpu")

    def of_site(name):
        return lambda wildcards: site.resources(given(wildcards, "gpu")).get(name) if controller.submits else None

    asked = {name: growing(name) for name in GROWING}
    if asks_for_gpus(grid.settings, rule):
        asked["gpu"] = gpus
    asked |= {name: of_site(name) for name in {**site.resources(0), **site.resources(1)}}
    return {**asked, **more}


def threads_of(rule):
    """How many threads a job of a rule has, as the backbones' files say."""
    threads = {name: grid.resources(rule, name).get("threads", 1) for name in grid.config["backbones"]}
    return {*threads.values()}.pop() if len({*threads.values()}) == 1 else lambda wildcards: threads[wildcards.backbone]


def in_slurm():
    """Whether the training runs, or will run, in a job of Slurm; known when all rules are read."""
    return controller.submits or controller.is_job_on_node


def training_resources(rule, *names):
    """`resources_of`; on a cluster also what lets a training go on after its time limit. An attempt
    goes on where the last one ended, so it needs no more time.
    """

    def minutes(wildcards):
        return grid.resources(rule, wildcards.backbone).get("runtime", DEFAULTS["runtime"])

    def of_launch(name):
        def value(wildcards):
            if not in_slurm():
                return grid.resources(rule, wildcards.backbone).get("gpu", 0) if name == "gpu" else None
            nodes, gpus = nodes_and_gpus(grid.settings, wildcards.backbone)
            asked = launch.asked(site, nodes, gpus, minutes(wildcards))
            return asked.get(name, site.resources(gpus).get(name))

        return value

    return resources_of(rule, runtime=minutes, **{name: of_launch(name) for name in names})


def training_arguments(wildcards, output):
    """The recipe and the identity of a model. It takes `output`, so that Snakemake repeats no
    training for a change of what only says how it is computed; what decides is in the key.
    """
    return f"--recipe {shlex.quote(json.dumps(grid.recipes.train(model_of(wildcards))))}"


def launcher_of(wildcards, output, threads):
    with controller.user_errors():
        return launch.launcher(in_slurm(), *nodes_and_gpus(grid.settings, wildcards.backbone), threads)


@cache
def batches():
    """The evaluation jobs to be done, cut by how many run at once and how long they may take."""
    threads = max(grid.resources("evaluate", name).get("threads", 1) for name in grid.config["backbones"])
    gpus = max(grid.resources("evaluate", name).get("gpu", 0) for name in grid.config["backbones"])
    grid.batches.at_once = controller.jobs_at_once(threads, gpus)
    if controller.submits:
        grid.batches.limit = site.time_limit(gpus)
    controller.say("\n".join(map(str, grid.batches)))
    return grid.batches


def batch_of(wildcards):
    """The evaluation job that a rule's wildcards name; None if it is done, or if this process only
    runs what another has planned.
    """
    return batches().find(wildcards.backbone, wildcards.batch) if controller.is_main else None


@cache
def write_batch(backbone, name):
    """Write what an evaluation job does, for `langmerge batch`, unless this is a dry run.

    Not in `onstart`, because Snakemake does not run that of a module.
    """
    if not controller.is_dry_run:
        arguments.batch(grid, batches().find(backbone, name)).write(layout.batch(backbone, name))


def batch_inputs(wildcards):
    """The models and data of an evaluation job, whose file is written."""
    batch = batch_of(wildcards)
    if batch:
        write_batch(batch.backbone, batch.name)
    elif controller.is_report:
        return tracked(grid.batches.read_by(layout.batch(wildcards.backbone, wildcards.batch)))
    # Of a job that is done, a file that nothing makes. Snakemake then takes its mark for a source.
    return tracked(grid.batches.reads(batch)) if batch else ["done"] * controller.is_main


def evaluation_inputs(wildcards):
    """What `recipes` has checked; where models are read from disk, what it would have read."""
    batch = batch_of(wildcards)
    checked = layout.batch_checked(wildcards.backbone, wildcards.batch)
    if batch.in_memory if batch else controller.is_report and checked.exists():
        return checked
    return batch_inputs(wildcards)


def live_merges_of(wildcards):
    """How many merged checkpoints an evaluation job reads."""
    batch = batch_of(wildcards)
    return int(bool(batch) and not batch.in_memory and batch.models[0].is_merge)


def minutes_of(wildcards, attempt):
    """The time limit of an evaluation job."""
    batch = batch_of(wildcards)
    return grid.batches.within_limit(batch.minutes * attempt) if batch else DEFAULTS["runtime"]


def evaluated(wildcards):
    """What scores.csv is made from: the marks of evaluation jobs, done and to be done, results that
    came otherwise, and votes.
    """
    coming = [layout.batch_done(batch.backbone, batch.name) for batch in batches()]
    done = sorted(layout.batches.glob("*/*.done"))
    since = max((path.stat().st_mtime for path in [layout.scores, *done] if path.exists()), default=0)
    others = [] if coming else [one.path for one in grid.results if one.path.stat().st_mtime > since]
    return [*done, *coming, *others, *grid.jobs.voted()]


def finished_results(wildcards):
    """The sealed results that are there, and votes."""
    found = [result.path for result in grid.results if result.path.exists()]
    if not found:
        controller.refuse(
            f"{layout.root}: no evaluation is finished yet, so there is nothing to draw. `snakemake status` says how far the run is."
        )
    return [*found, *grid.jobs.voted()]


def drawn_by(rule):
    """Names of the run's tables or figures that a rule makes, as a pattern."""
    return any_of(drawing.name for drawing in grid.reports.values() if drawing.rule == rule)


def shown(path, kind):
    """A file that `snakemake --report` shows, with the caption of its layout."""
    return report(path, caption="../report/report.rst", category=f"{kind.capitalize()}s", labels={kind: "{name}"})


def spec_of(wildcards):
    """What a table or a figure shows: nothing else may draw it again."""
    return json.dumps(grid.reports[wildcards.name].spec)


def caption_of(wildcards, output):
    """What `snakemake --report` says of a table or a figure."""
    return grid.reports[wildcards.name].caption
