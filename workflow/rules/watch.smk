# Needs: only what is there, and takes no lock: for looking at a run while it goes on. Makes: preview/, the tables and figures so far.
#
#   snakemake status --nolock --cores 1 --quiet all
#   snakemake preview --nolock --cores 1


def finished_results(wildcards):
    """The sealed results that are there."""
    found = [result.path for result in grid.results if result.path.exists()]
    if not found:
        raise WorkflowError(
            f"{layout.root}: no evaluation is finished yet, so there is nothing to draw. `snakemake status` says how far the run is."
        )
    return found


rule status:
    """Done, running, waiting and failed jobs, and the hours that are left."""
    localrule: True
    log:
        layout.log("status"),
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
    shell:
        "langmerge status {params.run:q} 2> {log:q}"


rule preview:
    """Tables and figures of what is finished; those that compare answers document by document wait for the whole run."""
    localrule: True
    input:
        finished_results,
    output:
        layout.finished(preview=True) / "scores.csv",
        grid.jobs.drawn("table", preview=True),
        grid.jobs.drawn("figure", preview=True),
    log:
        layout.log("preview"),
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        names=lambda wildcards, output: [drawing.name for drawing in grid.reports.values() if drawing.in_preview],
        folder=lambda wildcards, output: str(Path(output[0]).parent),
    shell:
        "(langmerge collect {params.run:q} --finished --output {output[0]:q}"
        " && langmerge report {params.run:q} {params.names} --scores {output[0]:q} --output {params.folder:q}) &> {log:q}"
