"""Paths that do not survive the way to a Slurm job are refused; test_slurm.py really runs in one
that does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from langmerge.errors import UserError
from langmerge.slurm.paths import check_paths


@pytest.mark.parametrize("name", ["plain", "two words", "l'època", 'a "word"', "a+b,c=d@e;f&g"])
def test_paths_that_survive(name: str) -> None:
    check_paths("/opt/època/.venv/bin/python3.12", [Path("/home/me", name), Path("/opt/època/Snakefile")])


@pytest.mark.parametrize("name", ["$HOME", "it's $5", "`id`", "a\\b", 'it\'s "both"', "a\nb"])
def test_paths_that_do_not(name: str) -> None:
    with pytest.raises(UserError, match="must hold none of"):
        check_paths("/opt/langmerge/.venv/bin/python", [Path("/opt/langmerge/Snakefile"), Path("/home/me", name)])


@pytest.mark.parametrize("name", ["two words", "l'època", "a$b", "a;b"])
def test_a_checkout_that_is_moved(name: str) -> None:
    with pytest.raises(UserError, match="the path of Python must hold no spaces"):
        check_paths(f"/opt/{name}/.venv/bin/python", [])
