"""A VllmEngine that another process asks; for the Python of vLLM's environment.

    python serve_vllm.py DESCRIPTOR MODEL SETTINGS

with an open file descriptor of a multiprocessing.Pipe, and the engine's settings as JSON.
"""

from __future__ import annotations

import json
import sys
from multiprocessing.connection import Connection

from langmerge.evaluation.engines.vllm import VllmEngine


def main(descriptor: str, model: str, settings: str) -> None:
    with Connection(int(descriptor)) as connection:
        engine = VllmEngine(model, **json.loads(settings))
        connection.send((engine.versions, engine.device, engine.max_length))
        while True:
            try:
                method, arguments = connection.recv()
            except EOFError:
                break
            engine.counts.clear()
            connection.send((getattr(engine, method)(*arguments), engine.counts))
        engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
