# Needs: a network. Makes: <cache>/{models,datasets}/<organisation>--<name>@<revision>/, which stay, and manifest.json.

import re

from prefetching.repository import Repository
from snakemake.logging import logger

# Compute nodes have no network: every job runs with the hub off, but for the two below.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

repositories = [Repository.of(entry) for entry in grid.repositories]

if workflow.is_main_process:
    if grid.unpinned:
        logger.warning(
            f"Without a revision, these may be other ones tomorrow: {', '.join(grid.unpinned)}. Pin each with `revision:` and a commit in "
            f"config/backbones/ or config/benchmarks.yaml; `snakemake prefetch` prints the commits."
        )
    for repository in repositories:
        if repository.folder.is_dir() and not repository.complete:
            logger.warning(f"{repository.folder} lacks files that the configuration asks for by now: `snakemake prefetch` adds them.")


rule prefetch:
    """Fetch every model and data set of the run; the one job that must be run where there is a network."""
    log:
        f"{RUN}/logs/prefetch.log",
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/prefetch.py",
        run=whole_run,
        config=CONFIG,
    shell:
        # The bar goes to the terminal.
        "HF_HUB_OFFLINE=0 python {params.script} {params.run:q} --config {params.config} | tee {log}"


rule fetch:
    """One model or data set, where it was not fetched beforehand.

    A folder that is there is whole: no rule makes it then, Snakemake takes it for a source, and no change of a parameter, lost record
    or failed job can make Snakemake delete it.
    """
    output:
        directory(f"{grid.config['cache']}/{{kind}}/{{repository}}"),
    log:
        f"{RUN}/logs/fetch/{{kind}}/{{repository}}.log",
    wildcard_constraints:
        kind="models|datasets",
        repository="|".join(re.escape(repository.folder.name) for repository in repositories if not repository.folder.is_dir()) or "(?!)",
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/prefetch.py",
        run=whole_run,
        config=CONFIG,
    shell:
        "HF_HUB_OFFLINE=0 python {params.script} {params.run:q} --config {params.config} --folder {output} &> {log}"
