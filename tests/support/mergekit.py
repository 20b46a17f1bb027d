"""mergekit 0.1.5, run as it is in an environment of its own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT

REQUIREMENTS = ROOT / "envs" / "mergekit.txt"
VENV = ROOT / ".venv-mergekit"
DRIVER = ROOT / "tests" / "merging" / "run_mergekit.py"


def make_environment() -> Path:
    """Install mergekit unless its environment is complete; return that environment's Python."""
    python, stamp = VENV / "env" / "bin" / "python", VENV / "complete"
    key = hashlib.sha256(f"{REQUIREMENTS.read_text()}{sys.version}{VENV}".encode()).hexdigest()
    VENV.mkdir(exist_ok=True)
    with (VENV / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == key):
            # Without its stamp, which is written last, an environment counts as incomplete.
            stamp.unlink(missing_ok=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", VENV / "env"], check=True)
            log = VENV / "pip.log"
            install = [python, "-m", "pip", "install", "--quiet", "--log", log, "--requirement", REQUIREMENTS]
            if subprocess.run(install, capture_output=True).returncode:
                (pytest.fail if os.environ.get("CI") else pytest.skip)(
                    f"pip could not install {REQUIREMENTS}; its log: {log}"
                )
            stamp.write_text(key)
    return python


def run_mergekit(python: Path, jobs: Sequence[Mapping[str, Any]]) -> None:
    """Run mergekit on all jobs ({recipe, output, seed}) in one process: it takes seconds to start."""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([python, DRIVER], input=json.dumps(jobs), capture_output=True, text=True, env=offline)
    assert done.returncode == 0, done.stderr
