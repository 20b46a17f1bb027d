# Needs: config/languages/*.yaml. Makes: data/<language>/ with training text, instructions and tasks, and the tokenizers.


rule corpus:
    """The miniature world of one language, from CLDR."""
    output:
        corpus=f"{RUN}/data/{{language}}/corpus.jsonl",
        instructions=f"{RUN}/data/{{language}}/instructions.jsonl",
        tasks=directory(f"{RUN}/data/{{language}}/tasks"),
    log:
        f"{RUN}/logs/corpus/{{language}}.log",
    benchmark:
        f"{RUN}/benchmarks/corpus/{{language}}.tsv"
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/corpus.py",
        languages=os.path.relpath(ROOT / "config" / "languages"),
        world=lambda wildcards: grid.corpus(wildcards.language),
        sizes=lambda wildcards: " ".join(f"--{name} {size}" for name, size in grid.config["world"].items()),
        seed=grid.config["seed"],
        folder=lambda wildcards, output: os.path.dirname(output.corpus),
    shell:
        "python {params.script} {params.folder} --language {wildcards.language} --languages {params.languages}"
        " --seed {params.seed} {params.sizes} &> {log}"


rule tokenizer:
    """The tokenizer of a backbone that is trained from scratch, from its anchor languages."""
    input:
        lambda wildcards: grid.tokenizer_corpora(wildcards.backbone),
    output:
        directory(f"{RUN}/models/{{backbone}}/tokenizer"),
    log:
        f"{RUN}/logs/tokenizer/{{backbone}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/tokenizer.py",
        vocab_size=lambda wildcards: grid.backbone(wildcards.backbone)["tokenizer"]["vocab_size"],
    shell:
        "python {params.script} {output} --vocab-size {params.vocab_size} {input} &> {log}"
