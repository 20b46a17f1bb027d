# Needs: scores.csv, anatomies, samples. Makes: tables/<table>.{csv,md,tex,html}, figures/<figure>.{pdf,png,svg}, all shown by `snakemake --report`.

# By what they are made from: scores.csv, or every answer.
TABLES, PAIRED = grid.tables("adapted", "merges", "ifeval", "methods", "best"), grid.tables("paired")
# Snakemake takes an empty constraint for none.
NOTHING = "(?!)"


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
    wildcard_constraints:
        table="|".join(TABLES) or NOTHING,
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/table.py",
        layout=lambda wildcards: grid.config["tables"][wildcards.table]["layout"],
        spec=lambda wildcards: json.dumps(grid.table(wildcards.table)),
        stem=lambda wildcards, output: os.path.splitext(output[0])[0],
    shell:
        "python {params.script} {input} --layout {params.layout} --spec {params.spec:q}" " --output {params.stem} &> {log}"


rule pair:
    """Each merge against its instruct model, document by document. The names go through a file."""
    input:
        grid.results,
    output:
        report(f"{RUN}/tables/{{table}}.csv", caption="../report/paired.rst", category="Tables", labels={"table": "{table}"}),
        f"{RUN}/tables/{{table}}.md",
    log:
        f"{RUN}/logs/tables/{{table}}.log",
    benchmark:
        f"{RUN}/benchmarks/tables/{{table}}.tsv"
    wildcard_constraints:
        table="|".join(PAIRED) or NOTHING,
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        script=f"{SCRIPTS}/significance.py",
        names=f"{RUN}/logs/tables/{{table}}.jsonl",
        spec=lambda wildcards: json.dumps({"labels": grid.labels(), "title": grid.config["tables"][wildcards.table].get("title", "")}),
        stem=lambda wildcards, output: os.path.splitext(output[0])[0],
    run:
        write_lines(params.names, map(json.dumps, grid.answers()))
        shell("python {params.script} {params.names} --spec {params.spec:q} --threads {threads} --output {params.stem} &> {log}")


rule compare:
    """The run beside a paper."""
    input:
        scores=f"{RUN}/scores.csv",
        published=grid.published(),
    output:
        f"{RUN}/tables/compare.csv",
        f"{RUN}/tables/compare.md",
        report(f"{RUN}/tables/compare.html", caption="../report/compare.rst", category="Tables", labels={"table": "compare"}),
    log:
        f"{RUN}/logs/tables/compare.log",
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/compare.py",
        published=lambda wildcards, input: os.path.dirname(input.published[0]),
        labels=json.dumps(grid.labels()),
        stem=lambda wildcards, output: os.path.splitext(output[0])[0],
    shell:
        "python {params.script} {input.scores} {params.published} --labels {params.labels:q} --output {params.stem} &> {log}"


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
        layout=lambda wildcards: grid.config["figures"][wildcards.figure].get("layout", "sweep"),
        spec=lambda wildcards: json.dumps(grid.figure(wildcards.figure)),
        stem=lambda wildcards, output: os.path.splitext(output[0])[0],
    shell:
        "python {params.script} {input} --layout {params.layout} --spec {params.spec:q} --output {params.stem} &> {log}"


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
        expand(f"{RUN}/tables/{{table}}.{{format}}", table=TABLES, format=["csv", "md", "tex"]),
        expand(f"{RUN}/tables/{{table}}.{{format}}", table=PAIRED, format=["csv", "md"]),
        rules.compare.output if grid.published() else [],


rule figures:
    """All figures."""
    input:
        expand(f"{RUN}/figures/{{figure}}.{{format}}", figure=grid.figures, format=["pdf", "png", "svg"]),
        rules.anatomy.output if grid.anatomies() else [],
