# Needs: scores.csv, answers, anatomies. Makes: tables/<name>.{csv,md,tex,html},
# figures/<name>.{pdf,png,svg} and report.html, which `snakemake --report` shows.


# Tables and figures that the configuration does not name any more are put aside, so that nobody
# takes them for those of this run.
if controller.is_main and not controller.is_dry_run:
    for path in grid.jobs.unnamed():
        aside = layout.outdated / path.relative_to(layout.root)
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.replace(aside)
        controller.say(f"{path}: the configuration does not name it any more. Moved to {aside}.")


rule table:
    """One table of the paper, with this run's numbers."""
    input:
        layout.scores,
    output:
        shown(f"{layout.report('table', '{name}')}.csv", "table"),
        [f"{layout.report('table', '{name}')}.{ending}" for ending in TABLE_FORMATS[1:]],
    log:
        layout.log("table", "{name}"),
    wildcard_constraints:
        name=drawn_by("table"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        spec=spec_of,
        caption=caption_of,
    shell:
        "langmerge report {params.run:q} {wildcards.name} &> {log:q}"


rule table1:
    """Table 1: documents and tokens of the corpora."""
    input:
        lambda wildcards: tracked(grid.jobs.counted()),
        # The paper's numbers are the configuration's, or shipped.
        [ancient(path) for path in grid.settings.published],
    output:
        shown(f"{layout.report('table', '{name}')}.csv", "table"),
        [f"{layout.report('table', '{name}')}.{ending}" for ending in TABLE_FORMATS[1:]],
    log:
        layout.log("table1", "{name}"),
    wildcard_constraints:
        name=drawn_by("table1"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        spec=spec_of,
        caption=caption_of,
    shell:
        "langmerge report {params.run:q} {wildcards.name} &> {log:q}"


rule paired:
    """Each merge against its instruct model, document by document."""
    input:
        # Behind it are the answers.
        layout.scores,
    output:
        shown(f"{layout.report('table', '{name}')}.csv", "table"),
        f"{layout.report('table', '{name}')}.md",
    log:
        layout.log("paired", "{name}"),
    benchmark:
        layout.benchmark("paired", "{name}")
    wildcard_constraints:
        name=drawn_by("paired"),
    conda:
        "../../envs/environment.yaml"
    threads: 8
    resources:
        **resources_of("paired", mem_mb=8000),
    params:
        run=whole_run,
        spec=spec_of,
        caption=caption_of,
    shell:
        "langmerge report {params.run:q} {wildcards.name} --threads {threads} &> {log:q}"


rule best:
    """The best weights among the merges that are shown to have lost nothing, document by document."""
    input:
        # Behind it are the answers.
        layout.scores,
    output:
        shown(f"{layout.report('table', '{name}')}.csv", "table"),
        [f"{layout.report('table', '{name}')}.{ending}" for ending in TABLE_FORMATS[1:]],
    log:
        layout.log("best", "{name}"),
    benchmark:
        layout.benchmark("best", "{name}")
    wildcard_constraints:
        name=drawn_by("best"),
    conda:
        "../../envs/environment.yaml"
    threads: 8
    resources:
        **resources_of("best", mem_mb=8000),
    params:
        run=whole_run,
        spec=spec_of,
        caption=caption_of,
    shell:
        "langmerge report {params.run:q} {wildcards.name} --threads {threads} &> {log:q}"


rule searches:
    """What the run's searches have found and stopped."""
    input:
        # Behind it are the searches' records.
        layout.scores,
    output:
        shown(f"{layout.report('table', '{name}')}.csv", "table"),
        f"{layout.report('table', '{name}')}.md",
    log:
        layout.log("searches", "{name}"),
    wildcard_constraints:
        name=drawn_by("searches"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        spec=spec_of,
        caption=caption_of,
    shell:
        "langmerge report {params.run:q} {wildcards.name} &> {log:q}"


rule compare:
    """The run beside a paper."""
    input:
        layout.scores,
        # The paper's numbers are the configuration's, or shipped.
        [ancient(path) for path in grid.settings.published],
    output:
        shown(f"{layout.report('table', '{name}')}.html", "table"),
        f"{layout.report('table', '{name}')}.csv",
        f"{layout.report('table', '{name}')}.md",
    log:
        layout.log("compare", "{name}"),
    wildcard_constraints:
        name=drawn_by("compare"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        spec=spec_of,
        caption=caption_of,
    shell:
        "langmerge report {params.run:q} {wildcards.name} &> {log:q}"


rule figure:
    """One figure of the paper, with this run's numbers."""
    input:
        layout.scores,
    output:
        shown(f"{layout.report('figure', '{name}')}.svg", "figure"),
        f"{layout.report('figure', '{name}')}.pdf",
        f"{layout.report('figure', '{name}')}.png",
    log:
        layout.log("figure", "{name}"),
    wildcard_constraints:
        name=drawn_by("figure"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        spec=spec_of,
        caption=caption_of,
    shell:
        "langmerge report {params.run:q} {wildcards.name} &> {log:q}"


rule anatomy:
    """How the task vectors of instruct and language models relate, and how far each merge moved
    from the base.
    """
    input:
        # Behind it are the anatomies.
        layout.scores,
    output:
        shown(f"{layout.report('figure', '{name}')}.svg", "figure"),
        f"{layout.report('figure', '{name}')}.pdf",
        f"{layout.report('figure', '{name}')}.png",
    log:
        layout.log("anatomy", "{name}"),
    wildcard_constraints:
        name=drawn_by("anatomy"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        spec=spec_of,
        caption=caption_of,
    shell:
        "langmerge report {params.run:q} {wildcards.name} &> {log:q}"


rule tables:
    """All tables."""
    input:
        grid.jobs.drawn("table"),
    localrule: True


rule figures:
    """All figures."""
    input:
        grid.jobs.drawn("figure"),
    localrule: True


rule report:
    """The page: the grid, plots to choose, and answers side by side."""
    input:
        # Behind it are the answers.
        layout.scores,
    output:
        report(f"{layout.report('page', 'report')}.html", caption="../report/report.rst", category="Page"),
    log:
        layout.log("report", "report"),
    benchmark:
        layout.benchmark("report", "report")
    conda:
        "../../envs/environment.yaml"
    threads: 8
    resources:
        **resources_of("report", mem_mb=8000),
    params:
        run=whole_run,
        spec=lambda wildcards: json.dumps(grid.reports["report"].spec),
        caption=lambda wildcards, output: grid.reports["report"].layout.caption,
    shell:
        "langmerge report {params.run:q} report --threads {threads} &> {log:q}"
