# Needs: a model, the tasks of its languages. Makes: scores/<model>/<shard>.<fingerprint>.json, which are sealed.


def evaluation_inputs(wildcards):
    """The model, the tasks and their data sets; for a result that exists, a name that no rule makes.

    Snakemake then takes the result for a source file, and never asks for a merged checkpoint that is long deleted. Only the main
    process may look: in a job that runs a group, the result may be there because that very job has written it.
    """
    model = model_of(wildcards)
    result = grid.results.of(model, wildcards.shard)
    if result.fingerprint != wildcards.fingerprint:
        raise WorkflowError(f"{model.id}: the configuration has changed; its {wildcards.shard} result is now {result.path}.")
    if controller.is_main and result.path.exists():
        return ["sealed"]
    return tracked(grid.results.reads(result))


def evaluation_options(wildcards):
    """What `langmerge evaluate` is told of a model's shard."""
    model = model_of(wildcards)
    tasks = grid.tasks.of_shard(model, wildcards.shard)
    given = {
        "tasks": tasks,
        "datasets": {name: str(folder) for name, folder in grid.tasks.datasets(tasks).items()},
        "provenance": {"cell": model.columns()},
        "backend": grid.tasks.backend(model),
    }
    options = [word for name, value in given.items() for word in (f"--{name}", json.dumps(value))]
    options += ["--key", grid.identity.model_key(model)]
    options += ["--include", *map(str, grid.tasks.include(tasks))]
    options += ["--chat-template"] if grid.tasks.chat_template(model) else []
    return shlex.join(options)


rule evaluate:
    """All tasks of one shard on one model. Each task's result is kept in scores/<model>/tasks/, from where a killed job resumes."""
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
        **resources_of("evaluate", live_merges=lambda wildcards: int(not controller.submits and model_of(wildcards).is_merge)),
    params:
        model=lambda wildcards: str(layout.model(model_of(wildcards))),
        options=evaluation_options,
        samples=str(layout.samples(CELL)),
    shell:
        "langmerge evaluate {params.model:q} {output:q} --samples {params.samples:q} {params.options} &> {log:q}"
