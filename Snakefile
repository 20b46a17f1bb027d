# langmerge: languages x backbones x merge methods x weights, merged, evaluated, tabulated and
# plotted.
#
#   corpora -> train -> merge -> evaluate -> collect -> tables, figures, report
#
# One stage per file of workflow/rules. The package langmerge (scripts/langmerge) does the work:
# grid/ says which models, paths and jobs there are; config/README.md explains the keys of a
# configuration.

from snakemake.utils import min_version

min_version("9.27")

from langmerge.grid.folders import Folders

# Without a run from the command line or from a workflow that includes this one: the user's
# config/config.yaml, or the shipped one.
if "methods" not in config:

    configfile: str(Folders().find("config.yaml"))


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prefetch.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/text.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/watch.smk"
include: "workflow/rules/start.smk"


rule all:
    default_target: True
    input:
        rules.scores.input,
        [layout.kept(id) for id in grid.config["keep"]],
        rules.tables.input,
        rules.figures.input,
        rules.report.output,
    localrule: True
