"""The one exception that a user sees as a message alone, and how a message is printed."""

from __future__ import annotations

import errno
import os
import shutil
import textwrap
from pathlib import Path

WIDTH = 160
"""Columns of a printed message."""


class UserError(Exception):
    """A mistake in what the user gave. The message names the file, the key or tensor, what was
    found and how to fix it.
    """


def printed(message: str) -> str:
    """A message as a terminal and a log show it: behind `error:`, wrapped, and indented from its
    second line on, so that its end can be found in a log.
    """
    lines = f"error: {message}".split("\n")
    options = {"width": WIDTH, "break_long_words": False, "break_on_hyphens": False, "subsequent_indent": "  "}
    return "\n".join(
        textwrap.fill(line, initial_indent="  " if number and not line.startswith("  ") else "", **options)
        for number, line in enumerate(lines)
    )


def of_system(error: OSError) -> str:
    """What the system refused, of which file, and for a full disk what to do."""
    name = str(error.filename or "")
    message = f"{error.strerror or error}{f': {name}' if name else ''}"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return message
    folder = next((part for part in [Path(name), *Path(name).absolute().parents] if part.exists()), Path.cwd())
    free = shutil.disk_usage(folder).free / 1e9
    quota = " Your quota may be smaller." if error.errno == errno.EDQUOT or free > 1 else ""
    return (
        f"{message}. {free:.1f} GB are free on the disk of {os.fspath(folder)}.{quota} Make room, for instance with another `results` or "
        "`cache` in the configuration, and start again: what is finished is kept."
    )
