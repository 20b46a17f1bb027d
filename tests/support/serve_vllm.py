"""A VllmEngine that another process asks; for the Python of vLLM's environment.

    python serve_vllm.py DESCRIPTOR

with an open file descriptor of a multiprocessing.Pipe.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from multiprocessing.connection import Connection
from typing import Any

import torch

from langmerge.evaluation.engines.vllm import VllmEngine


def parameters(engine: VllmEngine) -> list[dict[str, tuple[int, str]]]:
    """For each of vLLM's processes the address of each parameter, and the SHA-256 of its values."""

    def look(worker: Any) -> dict[str, tuple[int, str]]:
        own = worker.model_runner.get_model().named_parameters()
        return {
            name: (weight.data_ptr(), sha256(weight.detach().contiguous().view(torch.uint8).numpy()).hexdigest())
            for name, weight in own
        }

    return engine.llm.collective_rpc(look)


def main(descriptor: str) -> None:
    engine = None
    with Connection(int(descriptor)) as connection:
        while True:
            try:
                method, arguments = connection.recv()
            except EOFError:
                break
            if method == "open":
                if engine:
                    engine.close()
                model, settings = arguments
                engine = VllmEngine(model, **settings)
                answer = (engine.versions, engine.device, engine.max_length)
            else:
                engine.counts.clear()
                answer = parameters(engine) if method == "parameters" else getattr(engine, method)(*arguments)
            connection.send((answer, engine.counts))
        if engine:
            engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
