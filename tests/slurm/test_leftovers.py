"""What a killed controller left in Slurm, with programs in place of squeue and scancel."""

from __future__ import annotations

from pathlib import Path

import pytest

from langmerge.errors import UserError
from langmerge.slurm import leftovers
from langmerge.slurm.leftovers import clear_away, left_over
from langmerge.slurm.queue import queued_jobs
from support.squeue import fake_squeue

FOLDER = Path("/home/it's|mine/época")
OURS = ("11", "langmerge_0f3a", str(FOLDER))
OTHERS = [
    ("12", "langmerge_0f3a", "/home/elsewhere"),
    ("13", "controller", str(FOLDER)),
    ("14_2", "a|name|with bars", str(FOLDER)),
]


def test_only_jobs_of_this_folder_are_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_squeue(tmp_path, monkeypatch, [OTHERS[0], OURS, *OTHERS[1:]])
    assert left_over(FOLDER) == ["11"]
    assert [job.number for job in queued_jobs()] == ["12", "11", "13", "14_2"]


def test_a_slurm_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queued_jobs() is None
    assert left_over(FOLDER) == []


def test_jobs_are_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = fake_squeue(tmp_path, monkeypatch, [OURS, *OTHERS])
    said = []
    assert clear_away(FOLDER, said.append)
    assert (queue / "cancelled").read_text().split() == ["11"]
    assert len(said) == 1
    assert "cancelled: 11" in said[0]
    assert not clear_away(FOLDER, said.append)
    assert len(said) == 1


def test_jobs_that_do_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_squeue(tmp_path, monkeypatch, [OURS], obeys=False)
    monkeypatch.setattr(leftovers, "PATIENCE", 0)
    with pytest.raises(UserError, match="do not end: 11"):
        clear_away(FOLDER, print)


def test_the_jobs_of_another_run_in_the_same_folder_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = fake_squeue(tmp_path, monkeypatch, [("11", "langmerge_0f3a", str(tmp_path))])
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    for number in range(4):  # two of each run
        (locks / f"{number}.lock").touch()
    said = []
    assert not clear_away(tmp_path, said.append)
    assert "Another run is under way" in said[0]
    assert not (queue / "cancelled").exists()
