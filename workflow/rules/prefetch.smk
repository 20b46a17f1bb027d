# Needs: a network. Makes: <cache>/{models,datasets}/<organisation>--<name>@<revision>/, which stay,
# and manifest.json.

import re

from langmerge.hub.repository import Repository

repositories = [Repository.of(entry) for entry in grid.repositories]

if controller.is_main:
    for repository in repositories:
        if repository.folder.is_dir() and not repository.complete:
            controller.warn(
                f"{repository.folder} lacks files that the configuration now asks for; `snakemake prefetch` adds them."
            )


rule prefetch:
    """Fetch every model and data set of the run; the one job that must be run where there is a
    network.
    """
    log:
        layout.log("prefetch"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
    shell:
        # The progress bar goes to the terminal.
        "langmerge prefetch {params.run:q} | tee {log:q}"


rule fetch:
    """Fetch one model or data set that was not fetched beforehand.

    A folder that is there is complete: no rule makes it then, Snakemake takes it for a source, and
    no change of a parameter, lost record or failed job can make Snakemake delete it.
    """
    output:
        directory(layout.cache / "{kind}" / "{repository}"),
    log:
        layout.log("fetch", "{kind}/{repository}"),
    wildcard_constraints:
        kind="models|datasets",
        repository=any_of(repository.folder.name for repository in repositories if not repository.folder.is_dir()),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
    shell:
        "langmerge prefetch {params.run:q} --folder {output:q} &> {log:q}"
