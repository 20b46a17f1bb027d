# Needs: a model, the tasks of its languages. Makes: scores/<model>/<shard>.<fingerprint>.json, which are sealed.


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
    conda:
        "../../envs/environment.yaml"
    threads: resource("evaluate", "threads", 1)
    resources:
        # On a cluster the group holds the slot.
        live_merges=lambda wildcards: int(workflow.local_exec and model_of(wildcards).is_merge),
        mem_mb=resource("evaluate", "mem_mb", 4000),
        runtime=resource("evaluate", "runtime", 60),
        gpu=resource("evaluate", "gpu", 0),
    params:
        script=f"{SCRIPTS}/evaluate.py",
        options=evaluation_options,
        samples=f"{RUN}/samples/{{backbone}}/{{variant}}/{{target}}/w{{weight}}",
    shell:
        "python {params.script} {input.model} {output} --include {input.tasks} --samples {params.samples} {params.options} &> {log}"
