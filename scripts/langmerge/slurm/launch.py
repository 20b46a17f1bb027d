"""How a training is started: in Slurm so that it goes on after its time limit, and one process per
GPU.
"""

from __future__ import annotations

from typing import Any

from langmerge.errors import UserError
from langmerge.slurm.site import Site

SOONEST, LATEST = 20, 600
"""Seconds before its time limit in which a training can save; of a limit in between a tenth."""


def asked(site: Site, nodes: int, gpus: int, minutes: int) -> dict[str, Any]:
    """What the Slurm plugin is told of a training, beyond what every job asks for.

    Slurm sends SIGUSR1 to the processes before the time limit, and keeps the job's number when they
    requeue it.

    Args:
        gpus: of each node; minutes: the time limit.
    """
    warning = min(LATEST, max(SOONEST, 6 * minutes))
    options = [site.resources(gpus).get("slurm_extra", ""), f"--signal=USR1@{warning} --requeue --open-mode=append"]
    per_node = max(1, gpus)
    if nodes * per_node == 1:
        return {"slurm_extra": " ".join(filter(None, options))}
    options.append(f"--ntasks-per-node={per_node}")
    found = {"slurm_extra": " ".join(filter(None, options)), "mpi": "srun", "nodes": nodes, "tasks": nodes * per_node}
    if gpus:
        # By --gres, because --gpus counts those of all nodes and may share them unevenly.
        kind = site.resources(gpus)
        name = (
            kind["gres"].rpartition(":")[0]
            if "gres" in kind
            else ":".join(filter(None, ["gpu", kind.get("gpu_model")]))
        )
        # tasks_per_gpu: without it the plugin takes the number of tasks for it.
        found |= {"gres": f"{name}:{gpus}", "gpu": 0, "gpu_model": None, "tasks_per_gpu": 0}
    return found


def launcher(in_slurm: bool, nodes: int, gpus: int, threads: int) -> str:
    """What goes before the command of a training in several processes.

    Raises:
        UserError: several nodes without Slurm.
    """
    per_node = max(1, gpus)
    if in_slurm:
        return (
            f"srun --ntasks={nodes * per_node} --ntasks-per-node={per_node} --cpus-per-task={threads} --cpu-bind=none "
            "--kill-on-bad-exit=1"
        )
    if nodes > 1:
        raise UserError(
            f"a training on {nodes} nodes needs Slurm (`snakemake --profile slurm`). On one machine, set "
            "resources.train.nodes to 1 in the backbone's file."
        )
    return f"torchrun --standalone --nproc-per-node={per_node} --no-python"
