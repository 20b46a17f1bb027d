"""What Slurm is asked for a training, and how its processes are started."""

from __future__ import annotations

from pathlib import Path

import pytest

from langmerge.errors import UserError
from langmerge.slurm.launch import asked, launcher
from langmerge.slurm.site import Site

WARNED = "--signal=USR1@600 --requeue --open-mode=append"


@pytest.mark.parametrize(
    ("settings", "gres"),
    [
        ({}, "gpu:4"),
        ({"gpu": {"type": "a100"}}, "gpu:a100:4"),
        ({"gpu": {"gres": "gpu:a100_64"}}, "gpu:a100_64:4"),
        ({"gpu": {"gres": "gpu"}}, "gpu:4"),
    ],
)
def test_a_training_on_many_nodes_has_one_task_for_each_gpu(settings, gres):
    found = asked(Site(Path("site.yaml"), settings), 32, 4, 1440)
    assert found == {
        "slurm_extra": f"{WARNED} --ntasks-per-node=4",
        "mpi": "srun",
        "nodes": 32,
        "tasks": 128,
        "tasks_per_gpu": 0,
        "gres": gres,
        "gpu": 0,
        "gpu_model": None,
    }


def test_the_sites_options_stay_and_one_process_is_warned_too():
    site = Site(Path("site.yaml"), {"gpu": {"options": "--nice=7"}, "cpu": {"options": "--exclusive"}})
    assert asked(site, 1, 1, 1440) == {"slurm_extra": f"--nice=7 {WARNED}"}
    assert asked(site, 1, 0, 30) == {"slurm_extra": "--exclusive --signal=USR1@180 --requeue --open-mode=append"}
    assert "USR1@20 " in asked(site, 1, 0, 1)["slurm_extra"]


def test_the_launcher_is_srun_on_a_cluster_and_torchrun_on_one_machine():
    assert launcher(True, 2, 4, 8) == (
        "srun --ntasks=8 --ntasks-per-node=4 --cpus-per-task=8 --cpu-bind=none --kill-on-bad-exit=1"
    )
    assert launcher(False, 1, 4, 8) == "torchrun --standalone --nproc-per-node=4 --no-python"
    with pytest.raises(UserError, match="a training on 2 nodes needs Slurm"):
        launcher(False, 2, 4, 8)
