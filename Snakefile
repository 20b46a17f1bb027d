# langmerge: languages x backbones x merge methods x weights, merged, evaluated, tabulated and plotted.
#
#   corpora -> train -> merge -> evaluate -> collect -> tables, figures, report
#
# A stage is a file of workflow/rules; the grid and every path are made in workflow/grid.py; config/README.md explains the keys.

from snakemake.utils import min_version

min_version("9.27")


# Given --configfile, the default run must not shine through: Snakemake would merge the two.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prefetch.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/watch.smk"
# Adds to the rules that are there, so it comes last.
include: "workflow/rules/slurm.smk"


localrules:
    all,
    plan,
    prefetch,
    fetch,
    scores,
    tables,
    figures,
    collect,
    tabulate,
    plot,
    anatomy,
    status,
    preview,
    preview_collect,
    preview_tabulate,
    preview_compare,
    preview_plot,


rule all:
    default_target: True
    input:
        rules.scores.input,
        rules.tables.input,
        rules.figures.input,
