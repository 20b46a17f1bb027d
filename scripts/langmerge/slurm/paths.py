"""Which paths survive the way from Snakemake through sbatch to the shell of a job."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from langmerge.errors import UserError


def check_paths(python: str, paths: Iterable[Path]) -> None:
    """Refuse paths with which every job would fail, before any job is submitted.

    Snakemake writes the path of Python into a job's command as it is, and the other paths as Python
    writes a string; its Slurm plugin puts the command into double quotes. So spaces and letters
    beyond ASCII survive in the other paths, and one kind of quotes, but nothing that a shell
    replaces.

    Args:
        python: the path of Python.
        paths: the folder in which Snakemake runs, and its Snakefile.

    Raises:
        UserError: names the path, and what it must not hold.
    """
    ascii_part = "".join(character for character in python if character.isascii())
    if shlex.quote(ascii_part) != ascii_part:
        raise UserError(
            f"{python}: on a cluster, the path of Python must hold no spaces, quotes or other special characters. "
            "Move langmerge's checkout, and run the same command again."
        )
    for path in map(str, paths):
        if repr(path)[1:-1] != path or set(path) & {"$", "`"}:
            raise UserError(
                f"{path}: on a cluster, this path must hold none of $ ` \\, and not both kinds of quotes. "
                "Move the folder, and run the same command again."
            )
