"""What needs no Slurm of workflow/hpc.py: the site's file, and a job's folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from langmerge.errors import UserError
from langmerge.files import link, new_directory
from langmerge.slurm import hpc


def site(folder: Path, text: str) -> dict:
    (folder / "site.yaml").write_text(text)
    return hpc.read_site(folder / "site.yaml")


def test_without_a_site_file_nothing_is_asked(tmp_path: Path) -> None:
    assert hpc.requests(hpc.read_site(tmp_path / "site.yaml"), 1) == {}


def test_the_template_can_be_taken_as_it_is_and_with_every_comment_removed(tmp_path: Path) -> None:
    text = (ROOT / "slurm" / "site.yaml.template").read_text()
    assert hpc.requests(site(tmp_path, text), 1) == {}
    keys = "account|scratch|partition|qos|constraint|type|options"  # gres is instead of type
    filled = site(tmp_path, re.sub(rf"^( *)# ((?:{keys}): )", r"\1\2", text, flags=re.MULTILINE))
    assert hpc.requests(filled, 0)["slurm_extra"] == "--nice=100"
    assert hpc.requests(filled, 2) == {
        "slurm_account": "mygroup",
        "slurm_partition": "gpu",
        "qos": "long",
        "gpu_model": "a100",
        "slurm_extra": "--reservation=mine",
    }
    assert filled["scratch"] == "$TMPDIR"


def test_gres_counts_the_gpus(tmp_path: Path) -> None:
    settings = site(tmp_path, "gpu: {gres: 'gpu:a100'}")
    assert hpc.requests(settings, 2) == {"gres": "gpu:a100:2"}
    assert hpc.requests(settings, 0) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acount: mygroup", "'acount' was unexpected"),
        ("gpu: {partition: [a, b]}", "gpu.partition"),
        ("gpu: {type: a100, gres: gpu}", "gpu: "),
        ("cpu: {type: a100}", "'type' was unexpected"),
        ("scratch: ''", "scratch"),
        ("cpu: [", "is not YAML"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=r"site\.yaml") as error:
        site(tmp_path, text)
    assert message in str(error.value)
    assert "config/README.md" not in str(error.value)


def test_a_variable_that_the_node_does_not_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="NOT_SET_HERE"):
        hpc.claim_folder(f"{tmp_path}/$NOT_SET_HERE", "1")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="scratch"):
        hpc.claim_folder(str(tmp_path / "taken"), "1")


JOB = """
import os, sys
from pathlib import Path
from support.paths import ROOT
from langmerge.slurm import hpc
hpc.enter_job(sys.argv[1])
model = Path(os.environ[hpc.FOLDER], sys.argv[2].lstrip("/"))
model.mkdir(parents=True)
Path(sys.argv[2]).parent.mkdir(parents=True)
Path(sys.argv[2]).symlink_to(model)
assert Path(sys.argv[2]).is_dir()
if sys.argv[3] == "fails":
    raise RuntimeError
"""


@pytest.mark.parametrize("end", ["succeeds", "fails"])
def test_nothing_of_a_job_stays(tmp_path: Path, end: str) -> None:
    """Neither what an earlier attempt of it left, nor its own folder, nor the link to its model; what another job has, stays."""
    for name in ("langmerge-7", "langmerge-8"):
        (tmp_path / "scratch" / name / "model").mkdir(parents=True)
    ran = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path / "scratch"), str(tmp_path / "results" / "model"), end],
        env={
            "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT / 'workflow'}",
            "SLURM_JOB_ID": "7",
            "PATH": "",
        },  # no squeue: none is known to be dead
        capture_output=True,
        text=True,
    )
    assert (ran.returncode == 0) == (end == "succeeds"), ran.stderr
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["langmerge-8"]
    assert list((tmp_path / "results").iterdir()) == []


def test_links_to_checkpoints_come_and_go(tmp_path: Path) -> None:
    """A link takes the place of a folder, another link that of one which leads nowhere, and a folder that of a link."""
    output, places = tmp_path / "results" / "w1", [tmp_path / "a", tmp_path / "b"]
    (output / "old").mkdir(parents=True)
    for place in places:
        place.mkdir()
        link(output, place)
        assert output.resolve() == place
        place.rmdir()
    with new_directory(output) as folder:
        (folder / "new").write_text("")
    assert not output.is_symlink()
    assert [path.name for path in output.iterdir()] == ["new"]
