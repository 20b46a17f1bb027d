# Needs: the files of config/corpora. Makes: corpora/<corpus>/{clean,selected,searched}/ and
# corpora/<corpus>/tokens/<backbone>/, which stay.


rule clean:
    """What of a corpus passes its filters and is no duplicate. A killed job continues with the
    files that it had not finished.
    """
    input:
        lambda wildcards: tracked(grid.jobs.text_step(wildcards.corpus, "clean").inputs),
    output:
        directory(layout.corpus_step("{corpus}", "clean")),
    log:
        layout.log("clean", "{corpus}"),
    benchmark:
        layout.benchmark("clean", "{corpus}")
    conda:
        "../../envs/environment.yaml"
    threads: 16
    resources:
        **resources_of("clean", mem_mb=32000, runtime=1440),
    params:
        key=lambda wildcards: grid.corpora.by_name[wildcards.corpus].clean_key,
        cache=str(layout.cache),
    shell:
        "langmerge corpus clean {wildcards.corpus} {output:q} --cache {params.cache:q} --processes {threads} &> {log:q}"


rule select:
    """The documents to train on, up to the budget, and those that are held out."""
    input:
        lambda wildcards: tracked(grid.jobs.text_step(wildcards.corpus, "select").inputs),
    output:
        directory(layout.corpus_step("{corpus}", "selected")),
    log:
        layout.log("select", "{corpus}"),
    benchmark:
        layout.benchmark("select", "{corpus}")
    conda:
        "../../envs/environment.yaml"
    threads: 4
    resources:
        **resources_of("select", mem_mb=16000, runtime=480),
    params:
        clean=lambda wildcards: str(layout.corpus_step(wildcards.corpus, "clean")),
        options=lambda wildcards: shlex.join(arguments.select(grid, wildcards.corpus)),
        settings=lambda wildcards: json.dumps(grid.corpora.by_name[wildcards.corpus].selection),
    shell:
        "langmerge corpus select {wildcards.corpus} {params.clean:q} {output:q} {params.options} &> {log:q}"


rule items:
    """The texts of everything that the run evaluates."""
    input:
        lambda wildcards: tracked(grid.jobs.items().inputs),
    output:
        layout.benchmark_items,
    log:
        layout.log("items"),
    conda:
        "../../envs/environment.yaml"
    resources:
        **resources_of("items"),
    params:
        run=whole_run,
        tasks=lambda wildcards: json.dumps(grid.tasks.evaluated),
    shell:
        "langmerge corpus items {params.run:q} {output:q} &> {log:q}"


rule contamination:
    """Which selected documents hold texts of the benchmarks."""
    input:
        lambda wildcards: tracked(grid.jobs.text_step(wildcards.corpus, "contamination").inputs),
    output:
        directory(layout.corpus_step("{corpus}", "searched")),
    log:
        layout.log("contamination", "{corpus}"),
    benchmark:
        layout.benchmark("contamination", "{corpus}")
    conda:
        "../../envs/environment.yaml"
    threads: 16
    resources:
        **resources_of("contamination", mem_mb=32000, runtime=480),
    params:
        selected=lambda wildcards: str(layout.corpus_step(wildcards.corpus, "selected")),
        wanted=str(layout.benchmark_items),
        settings=lambda wildcards: json.dumps(grid.corpora.by_name[wildcards.corpus].settings["contamination"]),
    shell:
        "langmerge corpus contamination {wildcards.corpus} {params.selected:q} {params.wanted:q} {output:q} --processes {threads} &> {log:q}"


rule tokenise:
    """The tokens of a corpus, once for each backbone's tokenizer."""
    input:
        lambda wildcards: tracked(grid.jobs.tokenising(wildcards.corpus, wildcards.backbone).inputs),
    output:
        directory(layout.tokens("{corpus}", "{backbone}")),
    log:
        layout.log("tokenise", "{corpus}/{backbone}"),
    benchmark:
        layout.benchmark("tokenise", "{corpus}/{backbone}")
    conda:
        "../../envs/environment.yaml"
    threads: 16
    resources:
        **resources_of("tokenise", mem_mb=32000, runtime=480),
    params:
        selected=lambda wildcards: str(layout.corpus_step(wildcards.corpus, "selected")),
        options=lambda wildcards: shlex.join(arguments.tokenise(grid, wildcards.corpus, wildcards.backbone)),
    shell:
        "langmerge corpus tokenise {wildcards.corpus} {params.selected:q} {output:q} {params.options} --processes {threads} &> {log:q}"
