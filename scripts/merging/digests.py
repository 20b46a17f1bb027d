"""SHA-256 of the sources' files, each computed once a machine: hashing a model costs more than merging it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from common import write_text


def sha256(path: Path) -> str:
    """The file's SHA-256: by its name in a Hugging Face cache, from an earlier call if the file has not changed since, or computed."""
    real = path.resolve()
    if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", real.name):
        return real.name
    state = real.stat()
    key = f"{real}\0{state.st_dev}\0{state.st_ino}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ctime_ns}"
    known = cache() / hashlib.sha256(key.encode()).hexdigest()
    with contextlib.suppress(OSError):
        digest = known.read_text(encoding="utf-8")
        if re.fullmatch("[0-9a-f]{64}", digest):
            return digest
    with real.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # a home that is full or read-only: the next merge computes it again
        write_text(known, digest)
    return digest


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "langmerge" / "sha256"
