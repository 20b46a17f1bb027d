# Needs: every sealed result. Makes: scores.csv, the one file that tables and figures are drawn from.


rule collect:
    """The tidy file of scores. The names go through a file: a grid has more of them than a command line can hold."""
    input:
        grid.results,
    output:
        report(f"{RUN}/scores.csv", caption="../report/scores.rst", category="Scores"),
    log:
        f"{RUN}/logs/collect.log",
    params:
        script=f"{SCRIPTS}/collect.py",
        names=f"{RUN}/logs/collect.txt",
    run:
        write_lines(params.names, input)
        shell("python {params.script} {params.names} {output} &> {log}")


rule scores:
    """Everything up to scores.csv."""
    input:
        # Not scores.csv alone: with only the aggregate as a target, a lost result would go unseen.
        grid.results,
        rules.collect.output,
