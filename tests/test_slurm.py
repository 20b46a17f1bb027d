"""The shipped Slurm profile on a real Slurm of one node."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import TINY_RUN, Project
from slurm import cluster

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slurm


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """A running Slurm; the value is its folder, with its logs. CI has no excuse for not starting it."""
    try:
        with cluster.running_cluster() as folder:
            yield folder
    except cluster.Unavailable as reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Slurm: {reason}")


def run_on_slurm(folder: Path, *arguments: str, seconds: float = 300) -> subprocess.CompletedProcess:
    """Run `snakemake --profile slurm` in `folder` with the shipped profiles, as a user does in the project's root.

    For another Snakefile than the folder's own, give `--snakefile`. Only the waiting is shortened for the tests.
    """
    for profile in ("slurm", "profiles"):
        shutil.copytree(ROOT / profile, folder / profile, dirs_exist_ok=True)
    return subprocess.run(
        ["snakemake", "--profile", "slurm", "--slurm-init-seconds-before-status-checks=2", "--latency-wait=10", *arguments],
        cwd=folder,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )


def slurm_states() -> dict[str, str]:
    """Every job of the test Slurm, finished ones too: id -> state."""
    lines = subprocess.check_output(["squeue", "--noheader", "--states=all", "--format=%i %T"], text=True).splitlines()
    return dict(line.split() for line in lines)


def test_cluster_runs_jobs(slurm: Path, tmp_path: Path) -> None:
    assert subprocess.check_output(["sinfo", "--noheader", "--format=%D %P"], text=True).split() == ["1", "test*"]
    step = subprocess.check_output(["srun", "--mem=100", "--gpus=1", "printenv", "CUDA_VISIBLE_DEVICES"], text=True)
    assert step.strip() in {"0", "1"}
    script = "echo $SLURM_JOB_ID > ran"
    job = subprocess.check_output(["sbatch", "--wait", "--parsable", "--mem=100", "--wrap", script], cwd=tmp_path, text=True).strip()
    assert (tmp_path / "ran").read_text().strip() == job
    assert slurm_states()[job] == "COMPLETED"


GROUPED = """
workflow.register_resource("live_merges", 1)

rule all:
    input: expand("scores/{cell}/{shard}", cell=["w1", "w2"], shard=["eu", "gl"])

rule merge:
    output: temp(directory("models/{cell}"))
    group: "cell"
    resources: live_merges=1
    shell: "mkdir {output}; echo $SLURM_JOB_ID > {output}/job"

rule evaluate:
    input: "models/{cell}"
    output: "scores/{cell}/{shard}"
    group: "cell"
    shell:
        "if [ {wildcards.cell}/{wildcards.shard} = w2/gl ] && mkdir failed_once 2> /dev/null; then exit 1; fi;"
        " echo merge=$(cat {input}/job) evaluate=$SLURM_JOB_ID live=$(ls models | wc -l)"
        " $(scontrol show job $SLURM_JOB_ID | grep -o 'TimeLimit=[^ ]*') > {output}"
"""


def test_profile_runs_groups_and_retries_a_failed_one(slurm: Path, tmp_path: Path) -> None:
    """One group job a cell; the slot bounds live models although both cells would fit the node; a retry asks for more time."""
    (tmp_path / "Snakefile").write_text(GROUPED)
    ran = run_on_slurm(tmp_path)
    assert ran.returncode == 0, ran.stdout
    scores = {
        str(path.relative_to(tmp_path / "scores")): dict(re.findall(r"(\w+)=(\S+)", path.read_text()))
        for path in (tmp_path / "scores").glob("*/*")
    }
    assert sorted(scores) == ["w1/eu", "w1/gl", "w2/eu", "w2/gl"]
    states = slurm_states()
    for cell in ("w1", "w2"):
        jobs = {scores[f"{cell}/{shard}"][stage] for shard in ("eu", "gl") for stage in ("merge", "evaluate")}
        assert len(jobs) == 1, "merge and evaluations of a cell are one job on Slurm"
        assert states[jobs.pop()] == "COMPLETED"
    assert {score["live"] for score in scores.values()} == {"1"}
    assert (scores["w1/gl"]["TimeLimit"], scores["w2/gl"]["TimeLimit"]) == ("02:00:00", "04:00:00")
    assert (tmp_path / "failed_once").is_dir()
    assert not (tmp_path / "models").exists()
    assert "Nothing to be done" in run_on_slurm(tmp_path, "--dry-run").stdout


def test_a_small_grid_of_the_real_workflow(slurm: Path, tmp_path: Path) -> None:
    """From nothing to the figure on Slurm, every merge in one job with its evaluation; then there is nothing left to do."""
    before = set(slurm_states())
    project = Project.new(tmp_path / "project", copy.deepcopy(TINY_RUN))
    ran = run_on_slurm(project.folder, seconds=900)
    assert ran.returncode == 0, ran.stdout + project.logs()
    assert project.results("figures/figure1.png")
    assert len(project.results("scores/tiny/linear/*/*/eu.*.json")) == 2
    assert not project.results("models/tiny/linear/**/*.safetensors")
    states = {job: state for job, state in slurm_states().items() if job not in before}
    # Corpora, tokenizer, trainings; each reference in eu and in en; each merge with its evaluation as one.
    assert len(states) == 2 + 1 + 3 + 3 * 2 + 2
    assert set(states.values()) == {"COMPLETED"}
    assert "Nothing to be done" in run_on_slurm(project.folder, "--dry-run").stdout


def test_a_slurm_of_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slurm.conf").write_text("ClusterName=theirs\n")
    monkeypatch.setattr(cluster, "SETTINGS", tmp_path)
    with pytest.raises(cluster.Unavailable), cluster.running_cluster():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["slurm.conf"]
