# Needs: scores.csv, anatomies. Makes: tables/<table>.{csv,md,tex}, figures/<figure>.{pdf,png,svg}, all shown by `snakemake --report`.


rule tabulate:
    """One table of the paper, with this run's numbers."""
    input:
        f"{RUN}/scores.csv",
    output:
        report(f"{RUN}/tables/{{table}}.csv", caption="../report/table.rst", category="Tables", labels={"table": "{table}"}),
        f"{RUN}/tables/{{table}}.md",
        f"{RUN}/tables/{{table}}.tex",
    log:
        f"{RUN}/logs/tables/{{table}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/table.py",
        layout=lambda wildcards: grid.config["tables"][wildcards.table]["layout"],
        spec=lambda wildcards: json.dumps(grid.table(wildcards.table)),
        stem=lambda wildcards, output: os.path.splitext(output[0])[0],
    shell:
        "python {params.script} {input} --layout {params.layout} --spec {params.spec:q}" " --output {params.stem} &> {log}"


rule plot:
    """One figure of the paper, with this run's numbers."""
    input:
        f"{RUN}/scores.csv",
    output:
        f"{RUN}/figures/{{figure}}.pdf",
        f"{RUN}/figures/{{figure}}.png",
        report(f"{RUN}/figures/{{figure}}.svg", caption="../report/figure.rst", category="Figures", labels={"figure": "{figure}"}),
    log:
        f"{RUN}/logs/figures/{{figure}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/plot.py",
        spec=lambda wildcards: json.dumps(grid.figure(wildcards.figure)),
        stem=lambda wildcards, output: os.path.splitext(output[0])[0],
    shell:
        "python {params.script} {input} --spec {params.spec:q} --output {params.stem} &> {log}"


rule anatomy:
    """Where the task vectors of instruct and language models collide, and how far each merge went. The names go through a file."""
    input:
        [merge["file"] for merge in grid.anatomies()],
    output:
        f"{RUN}/figures/anatomy.pdf",
        f"{RUN}/figures/anatomy.png",
        report(f"{RUN}/figures/anatomy.svg", caption="../report/anatomy.rst", category="Figures", labels={"figure": "anatomy"}),
    log:
        f"{RUN}/logs/figures/anatomy.log",
    params:
        script=f"{SCRIPTS}/anatomy.py",
        merges=f"{RUN}/logs/figures/anatomy.jsonl",
        languages=grid.languages,
        stem=lambda wildcards, output: os.path.splitext(output[0])[0],
    run:
        write_lines(params.merges, map(json.dumps, grid.anatomies()))
        shell("python {params.script} {params.merges} --languages {params.languages} --output {params.stem} &> {log}")


rule tables:
    """All tables."""
    input:
        expand(f"{RUN}/tables/{{table}}.{{format}}", table=grid.config["tables"], format=["csv", "md", "tex"]),


rule figures:
    """All figures."""
    input:
        expand(f"{RUN}/figures/{{figure}}.{{format}}", figure=grid.config["figures"], format=["pdf", "png", "svg"]),
        rules.anatomy.output if grid.anatomies() else [],
