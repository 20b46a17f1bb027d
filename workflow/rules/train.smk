# Needs: data/<language>/*.jsonl. Makes: models/<backbone>/{base,instruct,adapted,joint}/..., which
# stay.

from langmerge.grid.resources import nodes_and_gpus
from langmerge.slurm import launch

IN_RANKS = [name for name in grid.config["backbones"] if grid.processes(name) > 1]
"""Backbones whose models are trained in several processes, each on a GPU of its own."""


def in_slurm():
    """Whether the training runs, or will run, in a job of Slurm; known when all rules are read."""
    return controller.submits or controller.is_job_on_node


def training_resources(rule, *names):
    """`resources_of`; on a cluster also what lets a training go on after its time limit. An attempt
    goes on where the last one ended, so it needs no more time.
    """

    def minutes(wildcards):
        return grid.resources(rule, wildcards.backbone).get("runtime", DEFAULTS["runtime"])

    def of_launch(name):
        def value(wildcards):
            if not in_slurm():
                return grid.resources(rule, wildcards.backbone).get("gpu", 0) if name == "gpu" else None
            nodes, gpus = nodes_and_gpus(grid.settings, wildcards.backbone)
            asked = launch.asked(site, nodes, gpus, minutes(wildcards))
            return asked.get(name, site.resources(gpus).get(name))

        return value

    return resources_of(rule, runtime=minutes, **{name: of_launch(name) for name in names})


def training_arguments(wildcards, output):
    """The recipe and the identity of a model. It takes `output`, so that Snakemake repeats no
    training for a change of what only says how it is computed; what decides is in the key.
    """
    return f"--recipe {shlex.quote(json.dumps(grid.recipes.train(model_of(wildcards))))}"


def launcher_of(wildcards, output, threads):
    with controller.user_errors():
        return launch.launcher(in_slurm(), *nodes_and_gpus(grid.settings, wildcards.backbone), threads)


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
