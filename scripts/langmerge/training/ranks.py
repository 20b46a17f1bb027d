"""The processes of a training, one per GPU."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from langmerge.errors import UserError

PATIENCE = timedelta(minutes=10)
"""How long a step's communication waits for a process that may be dead."""

PREPARATION = timedelta(hours=24)
"""How long the others wait for the first process, which tokenises what is not tokenised yet."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a training.

    Attributes:
        rank: its number; size: how many there are; local: its number on its node; per_node: how
            many a node has.
        device: what it computes on.
        store: where they leave messages; None for a process alone.
    """

    rank: int
    size: int
    local: int
    per_node: int
    device: torch.device
    store: dist.Store | None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def mesh(self, shard: str) -> DeviceMesh:
        """Over how many processes the weights are spread: [parts], or [copies, parts] where there
        are several copies of them.

        Args:
            shard: `none` (each process has all weights), `node` (those of a node share them), or
                `all`.
        """
        parts = {"none": 1, "node": self.per_node, "all": self.size}[shard]
        copies = self.size // parts
        # With a dimension for copies, torch holds every layer's summed gradient until the pass
        # ends: a second set of gradients, for a sum over one copy.
        shape = (copies, parts) if copies > 1 else (parts,)
        return init_device_mesh(self.device.type, shape, mesh_dim_names=("copies", "parts")[-len(shape) :])

    def summed(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        if self.size == 1:
            return [*values]
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(together)
        return together.tolist()

    def barrier(self) -> None:
        self.summed(0.0)

    def tell(self, name: str, value: str) -> None:
        """Leave a message for `hear`."""
        if self.store is not None:
            self.store.set(name, value)

    def hear(self, name: str) -> str:
        """The first process's message, when it is there."""
        assert self.store is not None
        self.store.wait([name], PREPARATION)
        return self.store.get(name).decode()


def environment() -> tuple[int, int, int, int]:
    """Rank, number, local rank and processes per node, as torchrun or srun has set them.

    Raises:
        UserError: the nodes have different numbers of processes.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if all(name in os.environ for name in names):
        rank, size, local, per_node = (int(os.environ[name]) for name in names)
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_NUM_NODES")
        rank, size, local, nodes = (int(os.environ[name]) for name in names)
        per_node = size // nodes
        os.environ["MASTER_ADDR"] = first_host(os.environ["SLURM_STEP_NODELIST"])
        os.environ["MASTER_PORT"] = str(20000 + int(os.environ["SLURM_JOB_ID"]) % 20000)
        os.environ["RANK"], os.environ["WORLD_SIZE"] = str(rank), str(size)
    else:
        return 0, 1, 0, 1
    if size % per_node:
        raise UserError(f"{size} processes with {per_node} on this node: start the same number on each node.")
    return rank, size, local, per_node


def first_host(nodes: str) -> str:
    """The first node's address in a list of Slurm's, such as n[01-04,7]."""
    names = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    first = names.stdout.split()[0]
    shown = subprocess.run(["scontrol", "show", "node", first], capture_output=True, text=True, check=True).stdout
    found = re.search(r"NodeAddr=(\S+)", shown)
    return found[1] if found else first


@contextmanager
def connected(alone_too: bool) -> Iterator[Ranks]:
    """The processes of this training, able to talk to each other.

    Args:
        alone_too: whether a process that is alone needs what is made for many.

    Raises:
        UserError: one process sees several GPUs.
    """
    rank, size, local, per_node = environment()
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local if torch.cuda.device_count() > local else 0) if on_gpu else torch.device("cpu")
    if size == 1 and torch.cuda.device_count() > 1:
        raise UserError(
            f"{torch.cuda.device_count()} GPUs are visible to one process. Start `torchrun --standalone "
            "--nproc-per-node=gpu --no-python langmerge train ...`, or choose one GPU with CUDA_VISIBLE_DEVICES."
        )
    if on_gpu:
        torch.cuda.set_device(device)
    store = None
    if size > 1:
        store, _, _ = next(iter(dist.rendezvous("env://")))
    if size > 1 or alone_too:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store or dist.HashStore(),
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
    try:
        yield Ranks(rank, size, local, per_node, device, store)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
