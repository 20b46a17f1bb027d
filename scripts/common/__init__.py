"""What every command in scripts/ shares: clear errors, YAML arguments, and outputs that are whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

VERSION = "0.1.0"

HEARTBEAT = 30
"""Seconds between two signs of life of a running job, for `snakemake status`."""


class UserError(Exception):
    """A mistake in what the user gave. The message names the file, the key or tensor, what was found and how to mend it."""


def run_command(main: Callable[[], None]) -> None:
    """Run a script's main function; a UserError or a full disk becomes one line on stderr and exit status 1.

    SIGTERM (Slurm's time limit, `scancel`, Snakemake's shutdown) is turned into SystemExit, so that `with` blocks clean up.
    """
    signal.signal(signal.SIGTERM, terminated)
    threading.Thread(target=touch_log, daemon=True).start()
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "))
    except KeyboardInterrupt:
        os.write(2, b"error: interrupted\n")
        sys.exit(130)


def terminated(*_: Any) -> None:
    # Not print(): the signal may have come in the middle of one.
    os.write(2, b"error: stopped by SIGTERM: its time limit, a cancelled job, or Snakemake shutting down\n")
    sys.exit(143)


def touch_log() -> None:
    """While the process lives, touch the file that its stderr goes to, if it is one: a job that says nothing is still seen to run."""
    with suppress(OSError):  # the file system is full or gone; the job itself will say so
        while stat.S_ISREG(os.fstat(2).st_mode):
            os.utime(2)
            time.sleep(HEARTBEAT)


def yaml_argument(text: str) -> Any:
    """Return the content of a command-line argument that is a YAML file's path or YAML (so also JSON) text itself.

    Raises:
        UserError: neither a readable file nor valid YAML with a mapping or a list at its top.
    """
    looks_like_path = "\n" not in text and not text.lstrip().startswith(("{", "["))
    where, content = ("the argument", text)
    if looks_like_path:
        if not Path(text).is_file():
            raise UserError(f"{text}: no such file. Give the path of a YAML file, or YAML text that starts with '{{' or '['.")
        where, content = text, Path(text).read_text(encoding="utf-8")
    try:
        value = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not YAML: {error}") from error
    if not isinstance(value, dict | list):
        raise UserError(f"{where} holds {type(value).__name__}, expected a mapping or a list.")
    return value


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all: a sibling first, flushed to disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`write_text` of a value as JSON with sorted keys, so that the same value gives the same bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield a sibling folder to write into; on success it is flushed and renamed to `final`, on failure removed.

    What stood at `final` is replaced. Folders that killed processes of the same output left behind are removed first.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    for stale in final.parent.glob(f".{final.name}.partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = final.parent / f".{final.name}.partial-{os.getpid()}"
    partial.mkdir()
    try:
        yield partial
        for path in partial.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        remove(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def link(path: Path, target: Path) -> None:
    """Make `path` a symbolic link to the folder `target`, in place of the folder or the link that stood there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(path)
    path.symlink_to(target.absolute(), target_is_directory=True)


def remove(folder: Path) -> None:
    """Remove a folder if it is there, or a link to one, wherever that leads."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
