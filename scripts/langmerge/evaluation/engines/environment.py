"""vLLM's own environment, which evaluations with it go over to.

No vLLM fits the packages of envs/requirements.lock. `envs/run --vllm` makes an environment beside
.venv that has what an evaluation needs, and langmerge from the same checkout.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from langmerge.errors import UserError

ROOT = Path(__file__).parents[4]
"""The checkout."""

VARIANTS = {".venv-vllm": "requirements-vllm.lock", ".venv-vllm-cpu": "requirements-vllm-cpu.lock"}
"""The environment for machines with CUDA, and that for CPUs: folder -> lock, as in envs/run."""


def go_over(command: Sequence[str], root: Path = ROOT) -> None:
    """Replace this process by the same command in vLLM's environment, unless vLLM is in this one.

    Args:
        command: the arguments of `langmerge`.

    Raises:
        UserError: there is no such environment, or it is not what its lock says.
    """
    if find_spec("vllm"):
        return
    for folder, lock in VARIANTS.items():
        if is_current(root / folder, root / "envs" / lock, root / "pyproject.toml"):
            langmerge = root / folder / "bin" / "langmerge"
            sys.stdout.flush()
            os.execv(langmerge, [str(langmerge), *command])
    raise missing(root)


def missing(root: Path = ROOT) -> UserError:
    """What to say where vLLM is in no environment that could be used."""
    there = next((folder for folder in VARIANTS if (root / folder).exists()), None)
    state = f"and {root / there} is not what its lock says" if there else "which has not been made"
    return UserError(
        f"`backend: vllm` needs vLLM, in an environment of its own, {state}. Make it, where there is a network: "
        f"{root / 'envs' / 'run'} --vllm true (some GB). Then repeat this command. Or set `backend: hf`."
    )


def is_current(folder: Path, lock: Path, project: Path) -> bool:
    """Whether envs/run has completed an environment, from today's lock and pyproject.toml."""
    try:
        made_from = (folder / "complete").read_text(encoding="utf-8").split()[0]
        return made_from == hashlib.sha256(lock.read_bytes() + project.read_bytes()).hexdigest()
    except (OSError, IndexError):
        return False
