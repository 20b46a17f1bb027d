# Needs: every sealed result. Makes: scores.csv, the one file that tables and figures are drawn
# from.


rule collect:
    """The tidy file of scores."""
    input:
        [result.path for result in grid.results],
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
    shell:
        "langmerge collect {params.run:q} --output {output:q} --threads {threads} &> {log:q}"


rule scores:
    """Everything up to scores.csv."""
    input:
        # Not scores.csv alone: with only the aggregate as a target, a lost result would go unseen.
        [result.path for result in grid.results],
        rules.collect.output,
    localrule: True
