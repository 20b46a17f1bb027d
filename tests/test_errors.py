"""How messages are printed, and what a full disk or a missing home folder means."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from langmerge.errors import of_system, printed
from langmerge.overview.progress import last_error


def test_a_message_is_wrapped_and_found_at_the_end_of_a_log(tmp_path):
    message = f"a.yaml:1: key: {'word ' * 60}end.\nb.yaml:2: other: {'y' * 170}"
    text = printed(message)
    assert text.startswith("error: a.yaml:1: key: word")
    assert max(map(len, text.splitlines())) <= 180
    log = tmp_path / "log"
    log.write_text(f"loading\n{text}\n")
    assert last_error(log).split() == message.split()


def test_a_full_disk_is_explained(tmp_path):
    said = of_system(OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a/b/c.safetensors")))
    assert said.startswith(f"No space left on device: {tmp_path}/a/b/c.safetensors. ")
    assert f"GB are free on the disk of {tmp_path}." in said
    assert "what is finished is kept" in said
    assert of_system(OSError(errno.EACCES, "Permission denied", "x")) == "Permission denied: x"


def test_a_command_that_cannot_write_says_why(tmp_path):
    """/dev/full is a disk that is always full."""
    code = "from langmerge import cli; import langmerge.commands.plan as p; from pathlib import Path"
    code += "; p.run = lambda options: Path('/dev/full').write_text('x'); cli.main(['plan', 'x'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device. ")
    assert "GB are free on the disk of" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("home", [None, "/proc/nowhere"])
def test_a_home_folder_that_is_missing_or_cannot_be_written(tmp_path, home):
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"TMPDIR": str(tmp_path), **({"HOME": home} if home else {})}
    code = "import os; from langmerge import files; files.ensure_cache(); print(files.user_cache())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if home:
        assert done.stdout.strip() == f"{tmp_path}/langmerge-{os.getuid()}/langmerge"
