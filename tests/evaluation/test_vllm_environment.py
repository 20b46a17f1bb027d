"""Evaluations with vLLM go over to its environment, or say how to make it."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from langmerge import cli
from langmerge.errors import UserError
from langmerge.evaluation.engines import environment
from support.paths import ROOT


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout with two locks and no environment, in a Python without vLLM."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    for lock in environment.VARIANTS.values():
        (tmp_path / "envs" / lock).write_text("vllm==1\n")
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    return tmp_path


@pytest.fixture
def executed(monkeypatch) -> list:
    """What this process would have been replaced by."""
    found: list = []

    def execv(program, arguments):
        found.append((program, arguments))
        raise SystemExit

    monkeypatch.setattr(os, "execv", execv)
    return found


def complete(checkout: Path, folder: str) -> Path:
    content = b"".join(
        (checkout / name).read_bytes() for name in (f"envs/{environment.VARIANTS[folder]}", "pyproject.toml")
    )
    (checkout / folder).mkdir()
    (checkout / folder / "complete").write_text(f"{hashlib.sha256(content).hexdigest()} 3.11 /usr {folder}\n")
    return checkout / folder / "bin" / "langmerge"


@pytest.mark.parametrize("made", [[".venv-vllm"], [".venv-vllm-cpu"], [".venv-vllm-cpu", ".venv-vllm"]])
def test_the_same_command_in_the_other_environment(checkout, executed, made):
    programs = [complete(checkout, folder) for folder in made]
    with pytest.raises(SystemExit):
        environment.go_over(["evaluate", "a model", "b"], checkout)
    assert executed == [(programs[-1], [str(programs[-1]), "evaluate", "a model", "b"])]


def test_where_vllm_is_installed_nothing_changes(checkout, executed, monkeypatch):
    complete(checkout, ".venv-vllm")
    monkeypatch.setattr(environment, "find_spec", lambda name: name == "vllm")
    environment.go_over(["evaluate"], checkout)
    assert not executed


def test_no_environment(checkout):
    with pytest.raises(UserError, match=r"which has not been made.*envs/run --vllm true.*backend: hf") as refused:
        environment.go_over(["evaluate"], checkout)
    assert str(checkout / "envs" / "run") in str(refused.value)


@pytest.mark.parametrize("changed", ["envs/requirements-vllm.lock", "pyproject.toml", ".venv-vllm/complete"])
def test_an_environment_that_is_not_what_its_lock_says(checkout, executed, changed):
    complete(checkout, ".venv-vllm")
    (checkout / changed).write_text("")
    with pytest.raises(UserError, match=r"\.venv-vllm is not what its lock says.*envs/run --vllm true"):
        environment.go_over(["evaluate"], checkout)
    assert not executed


def test_the_command_goes_over_before_anything_heavy_is_loaded(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    called: list = []

    def go_over(command):
        called.append(command)
        raise UserError("here")

    monkeypatch.setattr("langmerge.commands.evaluate.go_over", go_over)
    command = ["evaluate", str(tmp_path), str(tmp_path / "out.json"), "--tasks", "[]", "--backend", "{backend: vllm}"]
    with pytest.raises(SystemExit, match="error: here"):
        cli.main(command)
    assert called == [command]


def test_the_checkout_is_found():
    assert environment.ROOT == ROOT
    assert all((ROOT / "envs" / lock).is_file() for lock in environment.VARIANTS.values())
    assert Path(sys.modules["langmerge"].__file__).is_relative_to(ROOT / "scripts")
