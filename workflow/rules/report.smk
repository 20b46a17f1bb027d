# Needs: scores.csv, answers, anatomies. Makes: tables/<name>.{csv,md,tex,html} and figures/<name>.{pdf,png,svg}, which `snakemake --report` shows.

from langmerge.reporting.layouts import FIGURE_FORMATS, TABLE_FORMATS


def drawn_by(rule):
    """Names of the run's tables or figures that a rule makes, as a pattern."""
    return any_of(drawing.name for drawing in grid.reports.values() if drawing.rule == rule)


def shown(path, kind):
    """A file that `snakemake --report` shows, with the caption of its layout."""
    return report(path, caption="../report/report.rst", category=f"{kind.capitalize()}s", labels={kind: "{name}"})


def spec_of(wildcards):
    """What a table or a figure shows: nothing else may draw it again."""
    return json.dumps(grid.reports[wildcards.name].spec)


def caption_of(wildcards, output):
    """What `snakemake --report` says of a table or a figure."""
    return grid.reports[wildcards.name].layout.caption


rule table:
    """One table of the paper, with this run's numbers."""
    localrule: True
    input:
        layout.scores,
    output:
        shown(f"{layout.report('table', '{name}')}.csv", "table"),
        [f"{layout.report('table', '{name}')}.{ending}" for ending in TABLE_FORMATS[1:]],
    log:
        layout.log("table", "{name}"),
    wildcard_constraints:
        name=drawn_by("table"),
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
        [result.path for result in grid.results],
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


rule compare:
    """The run beside a paper."""
    localrule: True
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
    localrule: True
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
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        spec=spec_of,
        caption=caption_of,
    shell:
        "langmerge report {params.run:q} {wildcards.name} &> {log:q}"


rule anatomy:
    """How the task vectors of instruct and language models relate, and how far each merge moved from the base."""
    localrule: True
    input:
        [merge.path for merge in grid.anatomies()],
    output:
        shown(f"{layout.report('figure', '{name}')}.svg", "figure"),
        f"{layout.report('figure', '{name}')}.pdf",
        f"{layout.report('figure', '{name}')}.png",
    log:
        layout.log("anatomy", "{name}"),
    wildcard_constraints:
        name=drawn_by("anatomy"),
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
    localrule: True
    input:
        grid.jobs.drawn("table"),


rule figures:
    """All figures."""
    localrule: True
    input:
        grid.jobs.drawn("figure"),
