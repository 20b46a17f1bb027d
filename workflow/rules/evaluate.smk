# Needs: a model, the tasks of its languages. Makes: scores/<model>/<shard>.<fingerprint>.json,
# which are sealed.


rule evaluate:
    """All tasks of one shard on one model. Each task's result is kept in scores/<model>/tasks/,
    from where a killed job resumes.
    """
    input:
        evaluation_inputs,
    output:
        layout.result(CELL, "{shard}", "{fingerprint}"),
    log:
        layout.log("evaluate", job_name(CELL, "{shard}", "{fingerprint}")),
    benchmark:
        layout.benchmark("evaluate", job_name(CELL, "{shard}", "{fingerprint}"))
    priority: 10
    group:
        "cell"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of("evaluate")
    resources:
        # On a cluster the group holds the slot.
        **resources_of(
            "evaluate",
            live_merges=lambda wildcards: int(not controller.submits and model_of(wildcards).is_merge),
            runtime=lambda wildcards, attempt: grid.runtime(model_of(wildcards), wildcards.shard) * attempt,
        ),
    params:
        model=lambda wildcards: str(layout.model(model_of(wildcards))),
        options=lambda wildcards: shlex.join(arguments.evaluate(grid, model_of(wildcards), wildcards.shard)),
        samples=str(layout.samples(CELL)),
    shell:
        "langmerge evaluate {params.model:q} {output:q} --samples {params.samples:q} {params.options} &> {log:q}"
