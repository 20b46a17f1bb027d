"""Writing files and folders so that they are there as a whole or not at all, and hashing them."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from langmerge.errors import UserError


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes, flush: bool = True) -> None:
    """Write a file as a whole or not at all: to a sibling first, which is flushed to the disk and
    then renamed.

    Args:
        flush: False saves about 10 ms. If the machine crashes, the file may then be there and be
            empty or cut, so only for what is checked when it is read, and can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        # A full disk: the call that writes does not know the file's name.
        error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`write_text` of a value as JSON with sorted keys, so that the same value gives the same
    bytes.
    """
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, values: Iterable[Any]) -> None:
    """`write_text` of values as JSON lines."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield a sibling folder to write into; on success it is flushed and renamed to `final`, on
    failure removed.

    A folder or link at `final` is replaced. Folders that killed processes of the same output left
    behind are removed first.

    Raises:
        UserError: `final` is where a file system is mounted, which cannot be replaced.
    """
    final = Path(final)
    check_replaceable(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    for stale in leftovers(final):
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


def leftovers(final: Path) -> list[Path]:
    """What killed processes have left of an output, beside its final name."""
    return [*final.parent.glob(f".{glob_escape(final.name)}.partial-*")]


def check_replaceable(final: Path) -> None:
    """Refuse a folder that cannot be replaced by a rename: the content of a mount point would be
    written to another disk first, and then be lost."""
    if final.is_mount():
        raise UserError(
            f"{final} is where a file system is mounted, and an output replaces its folder as a whole. Name a folder inside "
            f"of it, such as {final / 'model'}."
        )


def glob_escape(name: str) -> str:
    """A name as a pattern that matches only itself."""
    return re.sub(r"([*?[])", r"[\1]", name)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def remove(folder: Path) -> None:
    """Remove a folder if it is there, or a link to one, wherever that leads."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


# ---- hashes


def sha256(path: Path) -> str:
    """The file's SHA-256: from its name in a Hugging Face cache, from an earlier call if the file
    has not changed, or computed.

    Hashing a model costs more than merging it, so each file is hashed once per machine. It counts
    as unchanged while its path, device, inode, size and times are the same.
    """
    real = path.resolve()
    if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", real.name):
        return real.name
    state = real.stat()
    key = f"{real}\0{state.st_dev}\0{state.st_ino}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ctime_ns}"
    known = user_cache() / "sha256" / hashlib.sha256(key.encode()).hexdigest()
    with contextlib.suppress(OSError):
        digest = known.read_text(encoding="utf-8")
        if re.fullmatch("[0-9a-f]{64}", digest):
            return digest
    with real.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # the home folder is full or read-only: the next call computes it again
        write_text(known, digest)
    return digest


def ensure_cache() -> None:
    """Where the home folder is missing or cannot be written, keep caches in the folder for
    temporary files: Snakemake and others end where they have none.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # RuntimeError: nobody knows where the home folder is
        writable = False
    if not writable:
        os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / f"langmerge-{os.getuid()}")


def user_cache() -> Path:
    """The folder for what may be lost: hashes of files, an index of lm-eval's tasks.

    A user without a home folder, as in some containers, gets one for the time of this process.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "langmerge"
    except RuntimeError:
        return temporary_cache()


@cache
def temporary_cache() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="langmerge-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
