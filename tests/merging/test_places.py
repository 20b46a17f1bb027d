"""Places where a merge is made: what cannot work is said before the work, and the rest goes on
without.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.merging import MERGE, content, merged, recipe, refused


@pytest.fixture
def mounted(tmp_path):
    """A folder at which a file system is mounted."""
    place = tmp_path / "mounted"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_an_output_that_is_a_mount_point(folder, mounted):
    message = refused(recipe(), f"{mounted} is where a file system is mounted", output=str(mounted))
    inside = message.split("such as ")[1].rstrip(".")
    assert Path(inside).parent == mounted
    assert merged(recipe(), inside)


def test_a_user_without_a_home_folder(folder, monkeypatch):
    """As in a container that is started with a number for its user: there is no entry in passwd."""

    def getpwuid(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    plain = merged(recipe(), "plain")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    with pytest.raises(RuntimeError):
        Path.home()
    assert merged(recipe()).keys() == plain.keys()
    assert content("plain") == content("out")


READ_ONLY = """
import os, sys
from numba.core import caching
for locator in caching.CacheImpl._locator_classes:
    locator.from_function = classmethod(lambda *_: None)
from langmerge.cli import main
main(["merge", *sys.argv[1:]])
"""


def test_an_installation_and_a_home_that_cannot_be_written(folder):
    """numba finds no place for compiled kernels: they are compiled, and not kept."""
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, json.dumps(recipe()), "out"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("note: neither langmerge's folder nor the user's cache can be written")
    assert "NUMBA_CACHE_DIR" in done.stderr
    merged(recipe(), "plain")
    assert content("plain") == content("out")


def test_a_cache_of_kernels_on_a_full_disk(folder):
    """The device that is always full."""
    script = READ_ONLY.split("for locator")[0] + (
        "caching.IndexDataCacheFile.save = lambda *_: open('/dev/full', 'w').write('x')\n"
        "from langmerge.cli import main\n"
        "main(['merge', *sys.argv[1:]])\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kernels")}
    command = [sys.executable, "-c", script, json.dumps(recipe()), "out"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_full_disk_is_named_with_what_helps(folder, mounted):
    subprocess.run(["mount", "-o", "remount,size=3m", mounted], check=True)
    Path(mounted, "other").write_bytes(bytes(2**21 + 2**19))
    options = [json.dumps(recipe()), str(folder / "out"), "--anatomy", str(mounted / "anatomy.parquet")]
    (mounted / "other2").write_bytes(bytes(2**19))
    done = subprocess.run([*MERGE, *options, "--anatomy-base", "base"], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 1
    message = " ".join(done.stderr.split())
    for words in ("No space left on device", str(mounted / "anatomy.parquet"), "Make room"):
        assert words in message
