# Needs: nothing but what is there, and takes no lock: for looking at a run while it goes on. Makes: preview/, the tables and figures so far.
#
#   snakemake status --nolock --cores 1 --quiet all
#   snakemake preview --nolock --cores 1


rule status:
    """Done, running, waiting and failed jobs, and the hours that are left."""
    log:
        f"{RUN}/logs/status.log",
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/status.py",
        run=whole_run,
        config=CONFIG,
    shell:
        "python {params.script} {params.run:q} --config {params.config} 2> {log}"


use rule collect as preview_collect with:
    input:
        finished_results,
    output:
        f"{RUN}/preview/scores.csv",
    log:
        f"{RUN}/logs/preview/collect.log",
    params:
        script=f"{SCRIPTS}/collect.py",
        names=f"{RUN}/logs/preview/collect.txt",


use rule tabulate as preview_tabulate with:
    input:
        f"{RUN}/preview/scores.csv",
    output:
        [f"{RUN}/preview/tables/{{table}}.{ending}" for ending in ("csv", "md", "tex")],
    log:
        f"{RUN}/logs/preview/tables/{{table}}.log",


use rule compare as preview_compare with:
    input:
        scores=f"{RUN}/preview/scores.csv",
        published=grid.published(),
    output:
        [f"{RUN}/preview/tables/compare.{ending}" for ending in ("csv", "md", "html")],
    log:
        f"{RUN}/logs/preview/tables/compare.log",


use rule plot as preview_plot with:
    input:
        f"{RUN}/preview/scores.csv",
    output:
        [f"{RUN}/preview/figures/{{figure}}.{ending}" for ending in ("pdf", "png", "svg")],
    log:
        f"{RUN}/logs/preview/figures/{{figure}}.log",
    params:
        spec=lambda wildcards: json.dumps(figure_with_gaps(wildcards.figure)),


rule preview:
    """Tables and figures of what is finished; those that compare answers document by document wait for the whole run."""
    input:
        expand(f"{RUN}/preview/tables/{{table}}.md", table=TABLES),
        rules.preview_compare.output if grid.published() else [],
        expand(f"{RUN}/preview/figures/{{figure}}.png", figure=grid.figures),
