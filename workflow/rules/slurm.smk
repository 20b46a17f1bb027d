# What happens on a cluster before the first job is submitted. Last, because a workflow has one
# `onstart`.

from langmerge.grid.resources import gpu_counts
from langmerge.slurm.leftovers import clear_away


onstart:
    # Nothing for `snakemake status` and the like, which look at a run that goes on and submit
    # nothing.
    if controller.jobs_to_submit():
        merges = [layout.model(model) for model in grid.expansion.merges]
        with controller.user_errors():
            site.check(gpu_counts(grid.settings))
            stale = clear_away(Path.cwd(), merges, controller.warn)
        if stale:
            controller.start_again()
