# What happens on a cluster before the first job is submitted. Last, because a workflow has one
# `onstart`.

import sys

from langmerge.grid.resources import gpu_counts
from langmerge.overview.trainings import check_memory
from langmerge.slurm.leftovers import clear_away
from langmerge.slurm.paths import check_paths


onstart:
    # Nothing for `snakemake status` and the like, which look at a run that goes on and submit
    # nothing.
    if controller.jobs_to_submit():
        merges = [layout.model(model) for model in grid.expansion.merges]
        with controller.user_errors():
            check_paths(sys.executable, [Path.cwd(), controller.snakefile])
            if (card := site.memory) is not None:
                check_memory(grid, card, site.path)
            site.check(gpu_counts(grid.settings), controller.forbidden_slurm_options())
            stale = clear_away(Path.cwd(), merges, controller.warn)
        if stale:
            controller.start_again()
