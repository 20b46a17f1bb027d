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
        **resources("evaluate"),
        # On a cluster the group holds the slot.
        live_merges=lambda wildcards: int(workflow.local_exec and model_of(wildcards).is_merge),
    params:
        script=f"{SCRIPTS}/evaluate.py",
        options=evaluation_options,
        samples=f"{RUN}/samples/{{backbone}}/{{variant}}/{{target}}/w{{weight}}",
    shell:
        "python {params.script} {input.model} {output} --include {input.tasks} --samples {params.samples} {params.options} &> {log}"
