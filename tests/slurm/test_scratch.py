"""A Slurm job's folder for merged checkpoints, without a Slurm."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from langmerge.errors import UserError
from langmerge.files import link, new_directory
from langmerge.slurm.scratch import claim_folder, expanded
from langmerge.slurm.site import Site
from support.squeue import fake_squeue

SITE_FILE = Path("slurm/site.yaml")


def test_variables_are_filled_in_on_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_HERE", str(tmp_path))
    assert expanded(Site(SITE_FILE, {"scratch": "$SET_HERE/merges"})) == tmp_path / "merges"
    with pytest.raises(UserError, match=r"^slurm/site\.yaml: scratch: .*NOT_SET_HERE"):
        expanded(Site(SITE_FILE, {"scratch": f"{tmp_path}/$NOT_SET_HERE"}))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"Change `scratch` in slurm/site\.yaml"):
        claim_folder(tmp_path / "taken", "1", SITE_FILE)


JOB = """
import os, sys
from pathlib import Path
from langmerge.slurm import scratch, site
settings = {"scratch": sys.argv[1]} if sys.argv[1] else {}
scratch.enter_job(site.Site(Path("slurm/site.yaml"), settings), Path(sys.argv[2]))
folder = os.environ[scratch.VARIABLE]
scratch.enter_job(site.Site(Path("slurm/site.yaml"), settings), Path("another"))
assert os.environ[scratch.VARIABLE] == folder
result = Path(sys.argv[3])
model = Path(folder, str(result).lstrip("/"))
model.mkdir(parents=True)
result.parent.mkdir(parents=True)
result.symlink_to(model)
assert result.is_dir()
if sys.argv[4] == "fails":
    raise RuntimeError
"""


@pytest.mark.parametrize("end", ["succeeds", "fails"])
@pytest.mark.parametrize("place", ["site", "default"])
def test_nothing_of_a_job_stays(tmp_path: Path, end: str, place: str) -> None:
    """Neither its folder, nor the link to its model, nor what an earlier attempt left; what another job has stays.

    Folders may hold whatever a name can hold; only in the site's file is $ the beginning of a variable.
    """
    parent = tmp_path / ("it's a scratch é" if place == "site" else "it's a scratch é for $5")
    for name in ("langmerge-7", "langmerge-8"):
        (parent / name / "model").mkdir(parents=True)
    result = tmp_path / "the results" / "model"
    places = [str(parent), str(tmp_path / "other")] if place == "site" else ["", str(parent)]
    ran = subprocess.run(
        [sys.executable, "-c", JOB, *places, str(result), end],
        env={"SLURM_JOB_ID": "7", "PATH": ""},  # without squeue: no job is known to have ended
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode == 0) == (end == "succeeds"), ran.stderr
    assert "RuntimeError" in ran.stderr or end == "succeeds"
    assert [path.name for path in parent.iterdir()] == ["langmerge-8"]
    assert list(result.parent.iterdir()) == []
    assert not (tmp_path / "other").exists()


def test_folders_of_jobs_that_have_ended_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (5, 6):
        (tmp_path / "scratch" / f"langmerge-{number}").mkdir(parents=True)
    fake_squeue(tmp_path, monkeypatch, [("6", "a|name with bars", "/some|where")])
    registered = []
    monkeypatch.setattr("atexit.register", lambda *call: registered.append(call))
    mine = claim_folder(tmp_path / "scratch", "7", SITE_FILE)
    assert mine == tmp_path / "scratch" / "langmerge-7"
    assert sorted(path.name for path in mine.parent.iterdir()) == ["langmerge-6", "langmerge-7"]
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700
    ((function, folder),) = registered
    function(folder)
    assert not mine.exists()


def test_links_to_checkpoints_come_and_go(tmp_path: Path) -> None:
    """A link replaces a folder, another link replaces one that leads nowhere, and a folder replaces a link."""
    output, targets = tmp_path / "results" / "w1", [tmp_path / "a", tmp_path / "b"]
    (output / "old").mkdir(parents=True)
    for target in targets:
        target.mkdir()
        link(output, target)
        assert output.resolve() == target
        target.rmdir()
    with new_directory(output) as folder:
        (folder / "new").write_text("")
    assert not output.is_symlink()
    assert [path.name for path in output.iterdir()] == ["new"]
