# What Slurm adds to the rules, so it comes last: slurm/site.yaml, one member of a group job at a time, folders for merged checkpoints.

import hpc
from snakemake.logging import logger

try:
    site = hpc.read_site(Path(os.path.relpath(ROOT / "slurm" / "site.yaml")))
    if workflow.remote_exec:
        hpc.enter_job(site.get("scratch", f"{RUN}/models/.jobs"))
except UserError as error:
    raise WorkflowError(str(error)) from None


# A merge and its evaluations are one job on a cluster. Its members take turns, so that the job asks for what the largest of them needs
# and for the sum of their times: five evaluations on one GPU, instead of five GPUs, or of five models on one. `local`: each job has
# turns of its own. The limit is registered here and not in the profile, which Snakemake does not hand on to the process inside a job.
resource_scopes:
    turn="local",


workflow.register_resource("turn", 1)


@known
def takes_turns(wildcards):
    return int(bool(workflow.remote_exec or not workflow.local_exec))


def gpus_of(rule, wildcards):
    return grid.resources(rule, wildcards.backbone).get("gpu", 0) if "backbone" in wildcards.keys() else 0


def site_resource(rule, name):
    """A resource that the site asks for; only where jobs go to a cluster."""
    return lambda wildcards: None if workflow.local_exec else hpc.requests(site, gpus_of(rule, wildcards)).get(name)


def gpu_unless_gres(rule):
    """With `gres` in the site's file, the plugin must not be told of GPUs a second time."""
    return lambda wildcards: gpus_of(rule, wildcards) if workflow.local_exec else 0


# Only what the site's file names: Snakemake asks each function for each job, and there are thousands.
asked = {name for gpus in (0, 1) for name in hpc.requests(site, gpus)}
for each in workflow.rules:
    for name in asked:
        # setdefault: --default-resources and --set-resources on the command line win.
        each.resources.setdefault(name, site_resource(each.name, name))
    if "gres" in asked:
        each.resources["gpu"] = gpu_unless_gres(each.name)
    each.resources["turn"] = takes_turns


onstart:
    # Not for `snakemake status` and the like, which look at a run that goes on: they submit nothing.
    if not workflow.local_exec and not all(job.is_local for job in workflow.dag.needrun_jobs()):
        merges = [grid.path(model) for model in grid.models.values() if model.is_merge]
        try:
            hpc.check_site(site, [gpus_of(job.rule.name, job.wildcards) for job in workflow.dag.needrun_jobs() if not job.is_local])
            stale = hpc.clear_away(Path.cwd(), merges, logger.warning)
        except UserError as error:
            raise WorkflowError(str(error)) from None
        if stale:
            # Which jobs there are was decided before: the same command from the beginning.
            workflow.persistence.unlock()
            os.execv(sys.executable, [sys.executable, "-m", "snakemake", *sys.argv[1:]])
