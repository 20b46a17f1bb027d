"""Whether a job's process lives, seen from its log alone.

Each command locks the file that its messages go to (cli.py), and the system releases the lock when
the last of its processes has ended, however they ended. On a disk of this machine that is certain.
On a network's file system another machine may hold a lock that this one does not see; there, only
the log's date tells.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "tmpfs", "overlay"}
"""File systems of disks of this machine."""

MOUNTS = Path("/proc/self/mounts")


def is_held(log: Path) -> bool | None:
    """Whether a process holds a log; None if that cannot be told."""
    try:
        with log.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when it is closed
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False if is_local(log) else None


def is_local(path: Path) -> bool:
    """Whether a file is on a disk of this machine; no, where that is not known."""
    try:
        mounts = [line.split()[1:3] for line in MOUNTS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return False
    real, found = os.fspath(path.resolve()), ("", "")
    for point, kind in mounts:
        folder = point.encode().decode("unicode_escape").rstrip("/")
        if (real.startswith(f"{folder}/") or not folder) and len(folder) >= len(found[0]):
            found = (folder, kind)
    return found[1] in LOCAL
