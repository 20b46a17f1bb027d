# Needs: only what is there, and takes no lock: for looking at a run while it goes on. Makes:
# preview/, the tables and figures so far.
#
#   snakemake status --nolock --cores 1 --quiet all
#   snakemake preview --nolock --cores 1


rule status:
    """Done, running, waiting and failed jobs, and the hours that are left."""
    log:
        layout.log("status"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
    shell:
        "langmerge status {params.run:q} 2> {log:q}"


rule preview:
    """Tables and figures of what is finished; those that compare answers document by document wait
    for the whole run.
    """
    input:
        finished_results,
    output:
        *[*grid.jobs.drawn("table", preview=True), *grid.jobs.drawn("figure", preview=True)],
        scores=layout.finished(preview=True) / "scores.csv",
    log:
        layout.log("preview"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        names=lambda wildcards, output: " ".join(
            drawing.name for drawing in grid.reports.values() if drawing.in_preview
        ),
        folder=lambda wildcards, output: str(Path(output.scores).parent),
    shell:
        "(langmerge collect {params.run:q} --finished --output {output.scores:q}"
        " && ([ -z {params.names:q} ] || langmerge report {params.run:q} {params.names} --scores {output.scores:q} --output {params.folder:q})) &> {log:q}"
        " && echo 'Written: '{output.scores:q}', and tables and figures of what is finished beside it'"
