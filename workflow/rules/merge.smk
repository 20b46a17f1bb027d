# Needs: models of the backbone. Makes: models/<backbone>/<method>/<target>/w<weight>/, which are
# temporary, and anatomy/<the same>.parquet.


rule merge:
    """One cell's merged checkpoint.

    It holds a slot of `live_merges` and asks for at least what its evaluations ask for: wherever a
    merge could start, a waiting evaluation could start too, and goes first by its priority. So no
    more merged checkpoints are on disk than there are slots. On a cluster a merge and its
    evaluations are one group job, which holds the slot until it ends; the checkpoint is in the
    job's own folder, which is removed with the job, and the output is a link to it.
    """
    input:
        lambda wildcards: tracked(grid.jobs.merging(model_of(wildcards)).inputs),
    output:
        model=temp(directory(layout.made(CELL))),
        anatomy=layout.anatomy(CELL),
    log:
        layout.log("merge", job_name(CELL)),
    benchmark:
        layout.benchmark("merge", job_name(CELL))
    wildcard_constraints:
        method=any_of(grid.config["methods"]),
    group:
        "cell"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of("merge")
    resources:
        **resources_of("merge", live_merges=1),
    params:
        options=lambda wildcards: shlex.join(arguments.merge(grid, model_of(wildcards))),
    shell:
        "langmerge merge {params.options} {output.model:q} --anatomy {output.anatomy:q} --threads {threads}"
        ' ${{LANGMERGE_MERGES:+--keep-in "$LANGMERGE_MERGES"}} &> {log:q}'
