# Needs: models of the backbone. Makes: models/<backbone>/<method>/<target>/w<weight>/, which are temporary, and anatomy/<the same>.parquet.


rule merge:
    """One cell's merged checkpoint.

    It holds a slot of `live_merges` and asks for at least what its evaluations ask for: wherever a merge could start, a
    waiting evaluation could start too, and goes first by its priority. So no more merged checkpoints are on disk than
    there are slots. On a cluster merge and evaluations are one group job, which holds the slot for its whole life; the
    checkpoint lies in the job's own folder (rules/slurm.smk), which goes with the job, and the output is a link to it.
    """
    input:
        lambda wildcards: of_any_age(map(grid.path, grid.read_by(model_of(wildcards)))),
    output:
        model=temp(directory(f"{RUN}/models/{{backbone}}/{{method}}/{{target}}/w{{weight}}")),
        anatomy=f"{RUN}/anatomy/{{backbone}}/{{method}}/{{target}}/w{{weight}}.parquet",
    log:
        f"{RUN}/logs/merge/{{backbone}}/{{method}}-{{target}}-w{{weight}}.log",
    benchmark:
        f"{RUN}/benchmarks/merge/{{backbone}}/{{method}}-{{target}}-w{{weight}}.tsv"
    group:
        "cell"
    conda:
        "../../envs/environment.yaml"
    threads: resource("merge", "threads", 1)
    resources:
        **resources("merge"),
        live_merges=1,
    params:
        script=f"{SCRIPTS}/merge.py",
        options=merge_options,
    shell:
        "python {params.script} {params.options} {output.model} --anatomy {output.anatomy} --threads {threads}"
        ' ${{LANGMERGE_MERGES:+--keep-in "$LANGMERGE_MERGES"}} &> {log}'
