# Needs: a model, the tasks of its languages. Makes: scores/<model>/<shard>.<fingerprint>.json, which are sealed.


def evaluation_inputs(wildcards):
    """The model and the tasks; for a result that exists, a name that no rule makes.

    Snakemake then takes the result for a source file, and never asks for a merged checkpoint that is long deleted. Only
    the main process may look: in a job that runs a group, the result may be there because that very job has written it.
    """
    model = model_of(wildcards)
    result = grid.result(model, wildcards.shard)
    if f".{wildcards.fingerprint}.json" not in result:
        raise WorkflowError(f"{model.id}: the configuration has changed; its {wildcards.shard} result is now {result}.")
    if workflow.is_main_process and os.path.exists(result):
        return {"model": "sealed"}
    return {
        "model": grid.path(model),
        "tasks": [f"{RUN}/data/{code}/tasks" for code in grid.languages_in(model, wildcards.shard)],
    }


rule evaluate:
    """All tasks of one shard on one model; each task's own result is kept in scores/<model>/tasks/, so it resumes."""
    input:
        unpack(evaluation_inputs),
    output:
        f"{RUN}/scores/{{backbone}}/{{variant}}/{{target}}/w{{weight}}/{{shard}}.{{fingerprint}}.json",
    log:
        f"{RUN}/logs/evaluate/{{backbone}}/{{variant}}-{{target}}-w{{weight}}-{{shard}}-{{fingerprint}}.log",
    benchmark:
        f"{RUN}/benchmarks/evaluate/{{backbone}}/{{variant}}-{{target}}-w{{weight}}-{{shard}}-{{fingerprint}}.tsv"
    priority: 10
    group:
        "cell"
    threads: resource("evaluate", "threads", 1)
    resources:
        # On a cluster the group holds the slot.
        live_merges=lambda wildcards: int(workflow.local_exec and model_of(wildcards).is_merge),
        mem_mb=resource("evaluate", "mem_mb", 4000),
        runtime=resource("evaluate", "runtime", 60),
        gpu=resource("evaluate", "gpu", 0),
    params:
        tasks=lambda wildcards: json.dumps(grid.shards(model_of(wildcards))[wildcards.shard]),
        cell=lambda wildcards: json.dumps({"cell": grid.cell(model_of(wildcards))}),
        key=lambda wildcards: grid.model_key(model_of(wildcards)),
        backend=lambda wildcards: json.dumps(grid.backbone(wildcards.backbone).get("backend", {})),
        template=lambda wildcards: "--chat-template" if grid.chat_template(model_of(wildcards)) else "",
        samples=f"{RUN}/samples/{{backbone}}/{{variant}}/{{target}}/w{{weight}}",
    shell:
        "python {SCRIPTS}/evaluate.py {input.model} {output} --tasks {params.tasks:q} --include {input.tasks}"
        " --samples {params.samples} --key {params.key} --provenance {params.cell:q} --backend {params.backend:q}"
        " {params.template} &> {log}"
