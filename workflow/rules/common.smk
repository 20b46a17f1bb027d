# What the rules share: the grid of this run, how a rule's wildcards become a job of it, and what a
# job asks for.

import json
import re
import shlex
from pathlib import Path

from langmerge.controller import Controller
from langmerge.grid import arguments
from langmerge.grid.grid import Grid
from langmerge.grid.layout import CELL, job_name
from langmerge.grid.resources import DEFAULTS, GROWING, asks_for_gpus
from langmerge.model import REFERENCES
from langmerge.reporting.layouts import TABLE_FORMATS
from langmerge.slurm.scratch import enter_job
from langmerge.slurm.site import read_site

controller = Controller(workflow)
with controller.user_errors():
    grid = Grid(config, source=controller.configuration, documents=controller.documents())
    site = read_site()
    if controller.is_job_on_node:
        enter_job(site, grid.layout.merges_of_jobs)

layout = grid.layout

# For the captions of a report: lists, also where the command line gave one word.
config["languages"], config["backbones"] = grid.languages, grid.config["backbones"]

# Merge jobs hold this resource (merge.smk).
controller.limit("live_merges", grid.config["live_merges"])

# A merge and its evaluations are one job on a cluster. Its members take turns, so that the job asks
# for what the largest of them needs and for the sum of their times: five evaluations on one GPU,
# instead of five GPUs. `local`: each job has its own turns. The limit is set here and not in the
# profile, which Snakemake does not hand on to the process inside a job.
controller.limit("turn", 1)


resource_scopes:
    turn="local",


wildcard_constraints:
    language=r"[A-Za-z0-9_-]+",
    backbone=r"[^/]+",
    method=r"[^/]+",
    target=r"[^/]+",
    weight=r"[0-9.e-]+",
    shard=r"[A-Za-z0-9_-]+",
    fingerprint=r"[0-9a-f]{12}",


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
    # A function, because Snakemake knows only after reading the rules where their jobs go.
    asked["turn"] = lambda wildcards: int(controller.submits or controller.is_job_on_node)
    return {**asked, **more}


def threads_of(rule):
    """How many threads a job of a rule has, as the backbones' files say."""
    threads = {name: grid.resources(rule, name).get("threads", 1) for name in grid.config["backbones"]}
    return {*threads.values()}.pop() if len({*threads.values()}) == 1 else lambda wildcards: threads[wildcards.backbone]


def evaluation_inputs(wildcards):
    """The model, the tasks and their data sets; for a result that exists, a name that no rule
    makes.

    Snakemake then takes the result for a source file, and never asks for a merged checkpoint that
    is long deleted. Only the main process may look: in a job that runs a group, the result may be
    there because that very job has written it.
    """
    model = model_of(wildcards)
    result = grid.results.of(model, wildcards.shard)
    if result.fingerprint != wildcards.fingerprint:
        controller.refuse(
            f"{model.id}: the configuration has changed; its {wildcards.shard} result is now {result.path}."
        )
    if controller.is_main and result.path.exists():
        return ["sealed"]
    return tracked(grid.results.reads(result))


def finished_results(wildcards):
    """The sealed results that are there."""
    found = [result.path for result in grid.results if result.path.exists()]
    if not found:
        controller.refuse(
            f"{layout.root}: no evaluation is finished yet, so there is nothing to draw. `snakemake status` says how far the run is."
        )
    return found


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
    return grid.reports[wildcards.name].layout.caption
