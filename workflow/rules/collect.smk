# Needs: every sealed result. Makes: scores.csv, the one file that tables and figures are drawn
# from.


rule collect:
    """The tidy file of scores."""
    input:
        evaluated,
    output:
        report(layout.scores, caption="../report/scores.rst", category="Scores"),
    log:
        layout.log("collect"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    # It judges the language of each answer.
    threads: 4
    params:
        run=whole_run,
        # Where the grid has shrunk, no evaluation tells.
        results=lambda wildcards: grid.results.names,
    shell:
        "langmerge collect {params.run:q} --output {output:q} --threads {threads} &> {log:q}"


rule scores:
    """Everything up to scores.csv."""
    input:
        # Not scores.csv alone: with only the aggregate as a target, a lost result would go unseen.
        lambda wildcards: [layout.batch_done(batch.backbone, batch.name) for batch in batches()],
        rules.collect.output,
    localrule: True
