# Needs: data/<language>/*.jsonl. Makes: models/<backbone>/{base,instruct,adapted,joint}/..., which
# stay.


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
        method=any_of(REFERENCES),
    # Every merge waits for the instruct model.
    priority: lambda wildcards: 5 if wildcards.method == "instruct" else 0
    conda:
        "../../envs/environment.yaml"
    threads: threads_of("train")
    resources:
        **resources_of("train"),
    params:
        # `output`, so that Snakemake repeats no training for it: what decides is in the key.
        recipe=lambda wildcards, output: json.dumps(grid.recipes.train(model_of(wildcards))),
        key=lambda wildcards: grid.identity.model_key(model_of(wildcards)),
    shell:
        "langmerge train {output:q} --recipe {params.recipe:q} --key {params.key} --threads {threads} &> {log:q}"
