# Needs: models of the backbone. Makes: with `merges: disk`,
# models/<backbone>/<method>/<target>/w<weight>/, which are temporary, and anatomy/<the
# same>.parquet; and kept/<the same>/, which stay.


rule merge:
    """One cell's merged checkpoint, which is evaluated and deleted.

    It holds a slot of `live_merges` and asks for at least what its evaluation asks for: wherever a
    merge could start, a waiting evaluation could start too, and goes first by its priority. So no
    more merged checkpoints are on disk than there are slots.
    """
    input:
        lambda wildcards: tracked(grid.jobs.merging(model_of(wildcards), "merge").inputs),
    output:
        temp(directory(layout.made(CELL))),
    log:
        layout.log("merge", job_name(CELL)),
    benchmark:
        layout.benchmark("merge", job_name(CELL))
    wildcard_constraints:
        method=any_of(grid.settings.methods),
    conda:
        "../../envs/environment.yaml"
    threads: threads_of("merge")
    resources:
        **resources_of("merge", live_merges=1),
    params:
        options=lambda wildcards: shlex.join(arguments.merge(grid, model_of(wildcards))),
    shell:
        "langmerge merge {params.options} {output:q} --threads {threads} &> {log:q}"


rule keep:
    """A cell's merged checkpoint that the run keeps (`keep`)."""
    input:
        lambda wildcards: tracked(grid.jobs.merging(model_of(wildcards), "keep").inputs),
    output:
        directory(layout.kept(CELL)),
    log:
        layout.log("keep", job_name(CELL)),
    benchmark:
        layout.benchmark("keep", job_name(CELL))
    conda:
        "../../envs/environment.yaml"
    threads: threads_of("merge")
    resources:
        **resources_of("merge"),
    params:
        options=lambda wildcards: shlex.join(arguments.merge(grid, model_of(wildcards))),
    shell:
        "langmerge merge {params.options} {output:q} --threads {threads} &> {log:q}"
