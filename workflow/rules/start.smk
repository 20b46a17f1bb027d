# What happens before the first job, on a cluster and elsewhere. Last, because a workflow has one
# `onstart`.

import shutil
import sys

from langmerge.grid.resources import gpu_counts
from langmerge.live.names import CHECK
from langmerge.overview.trainings import check_memory
from langmerge.slurm.leftovers import clear_away
from langmerge.slurm.paths import check_paths


onstart:
    # Nothing for `snakemake status` and the like, which look at a run that goes on.
    if controller.jobs_to_submit():
        with controller.user_errors():
            check_paths(sys.executable, [Path.cwd(), controller.snakefile])
            if (card := site.memory) is not None:
                check_memory(grid, card, site.path)
            site.check(gpu_counts(grid.settings), controller.forbidden_slurm_options())
            stale = clear_away(Path.cwd(), controller.warn)
        if stale:
            controller.start_again()
    if controller.will_run("evaluate"):
        for folder in layout.batches.glob(f"*/{CHECK}*"):
            shutil.rmtree(folder)
