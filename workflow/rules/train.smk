# Needs: data/<language>/*.jsonl, or the tokens of corpora. Makes:
# models/<backbone>/{base,instruct,adapted,joint}/..., which stay.

IN_RANKS = [name for name in grid.config["backbones"] if grid.processes(name) > 1]
"""Backbones whose models are trained in several processes, each on a GPU of its own."""


rule train:
    """Training from scratch, instruction tuning or continued pre-training: the recipe says which."""
    input:
        lambda wildcards: tracked(grid.jobs.training(model_of(wildcards)).inputs),
    output:
        directory(layout.made(CELL)),
    log:
        layout.log("train", job_name(CELL)),
    benchmark:
        layout.benchmark("train", job_name(CELL))
    wildcard_constraints:
        backbone=any_of([name for name in grid.config["backbones"] if name not in IN_RANKS]),
        method=any_of(REFERENCES),
    # Every merge waits for the instruct model.
    priority: lambda wildcards: 5 if wildcards.method == "instruct" else 0
    conda:
        "../../envs/environment.yaml"
    threads: threads_of("train")
    resources:
        **training_resources("train", "slurm_extra"),
    params:
        recipe=training_arguments,
        key=lambda wildcards: grid.identity.model_key(model_of(wildcards)),
    shell:
        "langmerge train {output:q} {params.recipe} --key {params.key} --threads {threads} &> {log:q}"


rule train_ranks:
    """A training in several processes. Its checkpoints are beside the model's place until `export`
    has written it.
    """
    input:
        lambda wildcards: tracked(grid.jobs.training(model_of(wildcards)).inputs),
    output:
        temp(touch(layout.trained(CELL))),
    log:
        layout.log("train_ranks", job_name(CELL)),
    benchmark:
        layout.benchmark("train_ranks", job_name(CELL))
    wildcard_constraints:
        backbone=any_of(IN_RANKS),
        method=any_of(REFERENCES),
    priority: lambda wildcards: 5 if wildcards.method == "instruct" else 0
    conda:
        "../../envs/environment.yaml"
    threads: threads_of("train")
    resources:
        **training_resources(
            "train_ranks", "slurm_extra", "mpi", "nodes", "tasks", "tasks_per_gpu", "gres", "gpu", "gpu_model"
        ),
    params:
        recipe=training_arguments,
        key=lambda wildcards: grid.identity.model_key(model_of(wildcards)),
        model=str(layout.made(CELL)),
        launcher=launcher_of,
    shell:
        "{params.launcher} langmerge train {params.model:q} {params.recipe} --key {params.key} --threads {threads} &> {log:q}"


rule export:
    """The model of a training in several processes, from its last checkpoint: needs no GPU."""
    input:
        layout.trained(CELL),
    output:
        directory(layout.made(CELL)),
    log:
        layout.log("export", job_name(CELL)),
    benchmark:
        layout.benchmark("export", job_name(CELL))
    wildcard_constraints:
        backbone=any_of(IN_RANKS),
        method=any_of(REFERENCES),
    conda:
        "../../envs/environment.yaml"
    resources:
        **resources_of(
            "export",
            mem_mb=lambda wildcards: grid.resources("train", wildcards.backbone).get("mem_mb", DEFAULTS["mem_mb"]),
        ),
    shell:
        "langmerge export {output:q} &> {log:q}"
