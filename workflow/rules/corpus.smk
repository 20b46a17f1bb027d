# Needs: config/languages/*.yaml. Makes: data/<language>/ with training text, instructions and
# tasks, and the tokenizers.


rule corpus:
    """The miniature world of one language, from CLDR."""
    output:
        corpus=layout.corpus("{language}")["corpus"],
        instructions=layout.corpus("{language}")["instructions"],
        tasks=directory(layout.corpus("{language}")["tasks"]),
    log:
        layout.log("corpus", "{language}"),
    benchmark:
        layout.benchmark("corpus", "{language}")
    conda:
        "../../envs/environment.yaml"
    resources:
        **resources_of("corpus"),
    params:
        world=lambda wildcards: grid.data.settings(wildcards.language),
        sizes=lambda wildcards: " ".join(f"--{name} {size}" for name, size in grid.config["world"].items()),
        seed=grid.config["seed"],
        folder=lambda wildcards, output: str(Path(output.corpus).parent),
    shell:
        "langmerge world {params.folder:q} --language {wildcards.language} --seed {params.seed} {params.sizes} &> {log:q}"


rule tokenizer:
    """The tokenizer of a backbone that is trained from scratch, from its anchor languages."""
    input:
        lambda wildcards: tracked(grid.jobs.tokenizer(wildcards.backbone).inputs),
    output:
        directory(layout.tokenizer("{backbone}")),
    log:
        layout.log("tokenizer", "{backbone}"),
    conda:
        "../../envs/environment.yaml"
    resources:
        **resources_of("tokenizer"),
    params:
        corpora=lambda wildcards: grid.recipes.tokenizer_corpora(wildcards.backbone),
        vocab_size=lambda wildcards: grid.settings.backbone(wildcards.backbone)["tokenizer"]["vocab_size"],
        key=lambda wildcards: json.dumps(grid.identity.tokenizer_key(wildcards.backbone)),
    shell:
        "langmerge tokenizer {output:q} --vocab-size {params.vocab_size} {params.corpora:q} &> {log:q}"
