"""Trainings in several processes that talk through gloo, without the seconds that torch takes to
load.
"""

from __future__ import annotations

import os
import socket
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["langmerge.training.loop", "torch.distributed.checkpoint", "transformers.models.llama"])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(size: int, per_node: int, output: Path, recipe: dict, log: Path | None = None) -> list[BaseProcess]:
    """Start a training of `recipe` (a complete one) in so many processes; `log` gets their
    messages.
    """
    port = free_port()
    found = [
        CONTEXT.Process(target=work, args=(rank, size, per_node, port, output, recipe, log)) for rank in range(size)
    ]
    for process in found:
        process.start()
    return found


def finish(processes: list[BaseProcess], seconds: float = 240) -> list[int | None]:
    """Wait for the processes and return their exit codes."""
    for process in processes:
        process.join(seconds)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def work(rank: int, size: int, per_node: int, port: int, output: Path, recipe: dict, log: Path | None) -> None:
    if log:
        sys.stderr = log.with_name(f"{log.name}.{rank}").open("a", buffering=1)
    if size > 1:
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": str(rank % per_node),
            "LOCAL_WORLD_SIZE": str(per_node),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    from torch.distributed.tensor import DTensor

    from langmerge.training import loop

    class Checked(loop.Training):
        """A training that refuses to be anything else than sharded."""

        def run(self) -> None:
            kinds = {type(parameter) for parameter in self.objective.parameters()}
            assert kinds == {DTensor} if size > 1 else kinds != {DTensor}, kinds
            if size > 1:
                # One copy needs no dimension for copies, with which torch holds a second set of
                # gradients.
                meshes = {parameter.device_mesh.shape for parameter in self.objective.parameters()}
                assert meshes == {(size // per_node, per_node) if size > per_node else (size,)}, meshes
            super().run()

    loop.Training = Checked
    loop.train(output, recipe, threads=1)
    if rank == 0 and size > 1:
        from langmerge.training.export import export
        from langmerge.training.folders import training_folders

        export(training_folders(output)[-1], output)
