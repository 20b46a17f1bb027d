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
        run=lambda wildcards: json.dumps(grid.config),
        config=os.path.relpath(ROOT / "config"),
    shell:
        "python {params.script} {params.run:q} --config {params.config} 2> {log}"


def finished_results(wildcards):
    """The sealed results that are there."""
    found = [result for result in grid.results if os.path.exists(result)]
    if not found:
        raise WorkflowError(f"{RUN}: no evaluation is finished yet, so there is nothing to draw. `snakemake status` tells how far it is.")
    return found


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


def figure_with_gaps(name):
    """A figure that has room for every weight of the run, also for those that no finished cell has."""
    figure = grid.figure(name)
    weights = {model.weight for model in grid.models.values() if len(model.target) == 1 and model.method in figure["methods"]}
    return {"weights": sorted(weights), **figure}


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
    """All tables and figures, of what is finished."""
    input:
        expand(f"{RUN}/preview/tables/{{table}}.md", table=TABLES),
        expand(f"{RUN}/preview/figures/{{figure}}.png", figure=grid.figures),
