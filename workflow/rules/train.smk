# Needs: data/<language>/*.jsonl. Makes: models/<backbone>/{base,instruct,adapted,joint}/..., which stay.


rule train:
    """Training from scratch, instruction tuning or continued pre-training: the recipe says which."""
    input:
        training_inputs,
    output:
        directory(f"{RUN}/models/{{backbone}}/{{reference}}/{{target}}/w{{weight}}"),
    log:
        f"{RUN}/logs/train/{{backbone}}/{{reference}}-{{target}}-w{{weight}}.log",
    benchmark:
        f"{RUN}/benchmarks/train/{{backbone}}/{{reference}}-{{target}}-w{{weight}}.tsv"
    # Every merge waits for the instruct model.
    priority: lambda wildcards: 5 if wildcards.reference == "instruct" else 0
    conda:
        "../../envs/environment.yaml"
    threads: resource("train", "threads", 1)
    resources:
        **resources("train"),
    params:
        script=f"{SCRIPTS}/train.py",
        recipe=lambda wildcards: json.dumps(grid.training(model_of(wildcards))),
    shell:
        "python {params.script} {output} --recipe {params.recipe:q} --threads {threads} &> {log}"
