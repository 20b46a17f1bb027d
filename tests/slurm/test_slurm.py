"""The shipped Slurm profile on a real Slurm of two nodes: what it asks for, and what happens to a
run when jobs are killed.

Everything runs in folders that `langmerge init` has written, whose paths hold a space, an
apostrophe and a letter beyond ASCII.
"""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from langmerge.grid.folders import Folders
from langmerge.grid.grid import read_run
from langmerge.live.batch import BatchFile
from support import cluster
from support.project import TINY_BACKBONE, TINY_RUN, Project, kill

pytestmark = pytest.mark.slurm

SECONDS = 900
"""For one run, and for whatever a test waits for: CI is quick, a busy laptop is not."""

MINUTES = int(os.environ.get("LANGMERGE_MINUTES", "30"))
STEPS = int(os.environ.get("LANGMERGE_STEPS", "80"))
"""Time limit and steps of the training on two nodes: with 1 minute, Slurm itself ends its legs."""

NAME = "l'època nova"
"""Of the folders that Snakemake runs in."""


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """A running Slurm; the value is its folder, with its logs. CI has no excuse for not starting
    it.
    """
    try:
        with cluster.running_cluster() as folder:
            yield folder
    except cluster.Unavailable as reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Slurm: {reason}")


def new_project(folder: Path, config: dict) -> Project:
    """A folder that `langmerge init` has written, with a configuration of the test's."""
    Project(folder.parent, {}).langmerge("init", str(folder))
    return Project.new(folder, config)


def start(project: Project, *arguments: str) -> subprocess.Popen:
    """Start `snakemake --profile slurm` in a project's folder, as a user does.

    Only the waiting is shortened for the tests. What it says goes into the folder's snakemake.log.
    """
    folder = project.folder
    with (folder / "snakemake.log").open("w") as log:
        return subprocess.Popen(
            [
                "snakemake",
                "--profile",
                "slurm",
                "--slurm-init-seconds-before-status-checks=2",
                "--latency-wait=10",
                *arguments,
            ],
            cwd=folder,
            env=project.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def run_on_slurm(project: Project, *arguments: str, status: int = 0) -> str:
    """`start`, to its end; return what it said."""
    process = start(project, *arguments)
    try:
        process.wait(SECONDS)
    finally:
        if process.poll() is None:
            kill(process)
    said = (project.folder / "snakemake.log").read_text()
    assert process.returncode == status, said + project.logs()
    return said


def slurm_states() -> dict[str, str]:
    """Every job of the test Slurm, finished ones too: id -> state."""
    lines = subprocess.check_output(["squeue", "--noheader", "--states=all", "--format=%i %T"], text=True).splitlines()
    return dict(line.split() for line in lines)


def job_records() -> dict[str, dict[str, str]]:
    """What `scontrol show job` says of every job that Slurm remembers: id -> its fields."""
    text = subprocess.check_output(["scontrol", "--oneliner", "--details", "show", "job"], text=True)
    # A value may hold spaces; the next key ends it.
    field = re.compile(r"(\S+?)=(.*?)(?= \S+?=|$)")
    records = [dict(field.findall(line.strip())) for line in text.splitlines() if line.startswith("JobId=")]
    return {record["JobId"]: record for record in records}


def gpus_asked(record: dict[str, str]) -> int:
    """How many GPUs sbatch was asked for."""
    match = re.search(r"gpu:(\d+)", record.get("TresPerJob", ""))
    return int(match[1]) if match else 0


def wait_for(what: str, condition: Callable[[], object], process: subprocess.Popen | None = None) -> object:
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert process is None or process.poll() is None, f"snakemake ended before {what}"
        assert time.monotonic() < deadline, f"not seen in time: {what}"
        time.sleep(0.02)
    return found


@contextmanager
def watching(look: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `look` again and again while the block runs."""
    done, errors = threading.Event(), []

    def loop() -> None:
        try:
            while not done.wait(seconds):
                look()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if errors:
        raise errors[0]


def test_cluster_runs_jobs(slurm: Path, tmp_path: Path) -> None:
    assert subprocess.check_output(["sinfo", "--noheader", "--format=%D %P"], text=True).split() == [
        "2",
        "test*",
        "2",
        "gpu",
    ]
    step = subprocess.check_output(["srun", "--mem=100", "--gpus=1", "printenv", "CUDA_VISIBLE_DEVICES"], text=True)
    assert step.strip() in {"0", "1"}
    script = "echo $SLURM_JOB_ID > ran"
    job = subprocess.check_output(
        ["sbatch", "--wait", "--parsable", "--mem=100", "--wrap", script], cwd=tmp_path, text=True
    ).strip()
    assert (tmp_path / "ran").read_text().strip() == job
    wait_for("the end of the job", lambda: slurm_states()[job] == "COMPLETED")


SEEDS = list(range(21, 29))
"""Of an evaluation's sampled task: eighteen tasks in all, so that one can be stopped between the
first and the last.
"""


@pytest.fixture(scope="session")
def devices() -> dict[str, str]:
    """For every job that was seen running with a GPU: its node and the GPU's index. Filled by
    `finished`.
    """
    return {}


@pytest.fixture(scope="session")
def clashes() -> list[str]:
    """Pairs of jobs that were seen running on the same GPU. Filled by `finished`."""
    return []


@pytest.fixture(scope="session")
def finished(
    slurm: Path, tmp_path_factory: pytest.TempPathFactory, devices: dict[str, str], clashes: list[str]
) -> Project:
    """A small grid of the real workflow, from nothing to the figures, at a site with a GPU
    partition.
    """
    folder = tmp_path_factory.mktemp("slurm")
    config, backbone = copy.deepcopy(TINY_RUN), copy.deepcopy(TINY_BACKBONE)
    config["experiments"]["sweep"]["evaluate"] = "all"
    config["tasks"][1]["seeds"] = SEEDS
    backbone["resources"]["evaluate"] = {"gpu": 1, "threads": 1}
    project = new_project(folder / NAME, config)
    project.write("backbones/tiny.yaml", backbone)
    site = {"account": "mygroup", "cpu": {"partition": "test"}, "gpu": {"partition": "gpu", "options": "--nice=7"}}
    (project.folder / "slurm" / "site.yaml").write_text(yaml.safe_dump(site))

    def look() -> None:
        running = {job: record for job, record in job_records().items() if record["JobState"] == "RUNNING"}
        found = {
            job: f"{record['NodeList']}:{match[1]}"
            for job, record in running.items()
            if (match := re.search(r"gpu\S*\(IDX:(\S+?)\)", record.get("GRES", "")))
        }
        clashes.extend(
            f"{first} and {second}"
            for first in found
            for second in found
            if first < second and found[first] == found[second]
        )
        devices.update(found)

    with watching(look, 0.5):
        run_on_slurm(project)
    return project


def test_a_small_grid_of_the_real_workflow(finished: Project) -> None:
    """A job of Slurm is a job of Snakemake; no checkpoint is written; then there is nothing left to
    do.
    """
    assert finished.results("figures/figure1.png")
    assert len(finished.results("scores/tiny/linear/*/*/*.json")) == 4
    assert not finished.results("models/tiny/linear")
    mine = [record for record in job_records().values() if record["WorkDir"] == str(finished.folder)]
    # Corpora, tokenizer, trainings; each reference; two cells, in as many jobs, because more than
    # two may run; the page, which reads all answers.
    assert len(mine) == 2 + 1 + 3 + 3 + 2 + 1
    assert {record["NodeList"] for record in mine} == {"n1", "n2"}
    assert {record["JobState"] for record in mine} == {"COMPLETED"}
    assert "Nothing to be done" in run_on_slurm(finished, "--dry-run")


def test_the_site_file_says_where_jobs_go(finished: Project) -> None:
    mine = [record for record in job_records().values() if record["WorkDir"] == str(finished.folder)]
    asked = {(record["Partition"], gpus_asked(record), record["Nice"]) for record in mine}
    assert asked == {("test", 0, "0"), ("gpu", 1, "7")}
    assert {record["Account"] for record in mine} == {"mygroup"}


def test_which_run_the_profile_runs(finished: Project) -> None:
    """The folder's config/config.yaml, unless told otherwise; and then that file alone."""
    finished.write("other.yaml", {**finished.config, "run": "other"})
    said = run_on_slurm(finished, "--dry-run", "--configfile", "config/other.yaml")
    assert "results/other/scores.csv" in said
    assert "results/tiny" not in said
    assert {*re.findall(r"config/\w+\.yaml", said)} == {"config/other.yaml"}


def test_each_job_has_one_gpu_of_its_own(finished: Project, devices: dict[str, str], clashes: list[str]) -> None:
    """An evaluation asks for one GPU and the time of its two results, and no two jobs have the same
    at once.
    """
    asked = [
        record for record in job_records().values() if record["WorkDir"] == str(finished.folder) and gpus_asked(record)
    ]
    assert [gpus_asked(record) for record in asked] == [1] * (3 + 2)
    assert {record["TimeLimit"] for record in asked} == {"02:00:00"}
    assert {device.split(":")[0] for device in devices.values()} == {"n1", "n2"}
    assert not clashes


def again(finished: Project, folder: Path, *lost: str) -> Project:
    """A copy of the finished grid in which some results are missing, with all that would help to
    make them again.

    Its tables and figures are pretended.
    """
    project = finished.copy(folder / NAME).with_stubs("report")
    for name in lost:
        for path in project.results(f"scores/tiny/{name}/**/*.json"):
            path.unlink()
    return project


def process_of(project: Project, name: str) -> int | None:
    """The id of the process that evaluates a model, such as base/none/w0."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text().split("\0")
                here = (entry / "cwd").readlink() == project.folder
            except OSError:
                continue
            # python .../langmerge batch FILE --threads ...
            is_evaluation = command[1:2] and command[1].endswith("/langmerge") and command[2:3] == ["batch"]
            if here and is_evaluation and "--threads" in command:
                models = BatchFile.read(project.folder / command[3]).models
                if f"tiny/{name}" in [model.id for model in models]:
                    return int(entry.name)
    return None


def parts_of(project: Project, name: str) -> dict[Path, int]:
    """The finished tasks of a model, such as base/none/w0, with their times."""
    return {path: path.stat().st_mtime_ns for path in project.results(f"scores/tiny/{name}/tasks/*.json")}


def freeze(project: Project, name: str, process: subprocess.Popen, pid: int) -> tuple[str, dict[Path, int]]:
    """Stop an evaluation's process when its first task is done; return its Slurm job and the tasks
    that are done.
    """
    os.kill(pid, signal.SIGCONT)
    wait_for(f"a finished task of {name}", lambda: parts_of(project, name), process)
    os.kill(pid, signal.SIGSTOP)
    environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
    done = parts_of(project, name)
    assert 0 < len(done) < 2 * (1 + len(SEEDS))
    return next(entry.split("=")[1] for entry in environment if entry.startswith("SLURM_JOB_ID=")), done


def requeue(job: str) -> None:
    """As an administrator does; Slurm would wait two minutes before it starts the job again."""
    subprocess.run(["scontrol", "requeue", job], check=True)
    wait_for("the requeued job", lambda: slurm_states()[job] == "PENDING")
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)


def scores(project: Project) -> str:
    return (project.folder / "results" / "tiny" / "scores.csv").read_text()


def over_memory(project: Project) -> list[tuple[str, str, bool]]:
    """What each job of the hungry backbone asked for, how it ended, and whether Slurm said that it
    took more.
    """
    found = []
    for job, record in job_records().items():
        if record["WorkDir"] == str(project.folder) and record["MinMemoryNode"] in ("450M", "900M"):
            logs = "".join(path.read_text() for path in project.folder.glob(f".snakemake/slurm_logs/**/{job}.log"))
            found.append((record["MinMemoryNode"], record["JobState"], "exceeded memory limit" in logs))
    return sorted(found)


LIGHT_EVALUATION = f"""#!{sys.executable}
import json, os, sys, time
from pathlib import Path

command, *arguments = sys.argv[1:]
if command != "batch":
    program = {str(Path(sys.executable).with_name("langmerge"))!r}
    os.execv(program, [program, *sys.argv[1:]])
(model,) = json.loads(Path(arguments[0]).read_text())["models"]
folder = Path(model["folder"])
assert (folder / "model.safetensors").stat().st_size and (folder / "config.json").stat().st_size
time.sleep(0.2)
if model["id"] == "tiny/linear/gl/w0.7":
    try:
        os.mkdir("failed_once")
        sys.exit("error: as the test wants it")
    except FileExistsError:
        pass
for result in model["results"]:
    path = Path(result["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({{"model": model["folder"]}}))
"""
"""A program `langmerge` whose evaluation only looks at the model, and fails once."""

LIVE_MERGES = 4


@dataclass
class Wide:
    """A run of 12 merges x 5 languages with `merges: disk`, really merged and quickly evaluated.

    Attributes:
        wanted: the results that it was asked for.
        peaks: how many checkpoints were there, whenever somebody looked.
    """

    project: Project
    wanted: list[str]
    peaks: list[int]
    process: subprocess.Popen


@pytest.fixture(scope="session")
def wide(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wide]:
    """It runs while other tests run: most of its time, and of theirs, is spent waiting."""
    folder = tmp_path_factory.mktemp("wide")
    languages, weights = ["eu", "gl", "ca", "es"], [0.3, 0.7, 0.9]
    config = {
        **copy.deepcopy(TINY_RUN),
        "run": "wide",
        "languages": languages,
        "weights": weights,
        "live_merges": LIVE_MERGES,
        "merges": "disk",
    }
    config["experiments"] = {"sweep": {"methods": ["linear"], "evaluate": "all"}}
    project = new_project(folder / NAME, config)
    models = finished.folder / "results" / "tiny" / "models" / "tiny"
    backbone = {
        **TINY_BACKBONE,
        "models": {role: {"path": str(next(models.glob(f"{role}/*/w*")))} for role in ("base", "instruct", "adapted")},
    }
    project.write("backbones/tiny.yaml", backbone)
    project.programs = folder / "programs"
    project.programs.mkdir()
    (project.programs / "langmerge").write_text(LIGHT_EVALUATION)
    (project.programs / "langmerge").chmod(0o755)
    for code in [*languages, "en"]:
        (project.folder / "results" / "wide" / "data" / code / "tasks").mkdir(parents=True)
        for name in ("corpus", "instructions"):
            (project.folder / "results" / "wide" / "data" / code / f"{name}.jsonl").write_text("")
    grid = read_run(str(project.folder / "config" / "config.yaml"), Folders(own=project.folder / "config"))
    wanted = [str(result.path) for result in grid.results if result.model.is_merge]
    marks = [str(grid.layout.batch_done(own.backbone, own.name)) for own in grid.batches if own.models[0].is_merge]
    peaks = [0]

    def look() -> None:
        # Not glob, which fails where folders vanish while it looks.
        found = os.walk(project.folder / "results" / "wide" / "models")
        peaks.append(sum(any(name.endswith(".safetensors") for name in names) for _, _, names in found))

    with watching(look, 0.05):
        process = start(project, "--", *marks)
        try:
            yield Wide(project, wanted, peaks, process)
        finally:
            if process.poll() is None:
                kill(process)


def test_what_clusters_do_to_jobs(finished: Project, wide: Wide, tmp_path: Path) -> None:
    """One job is cancelled, one runs out of time, one is requeued, one runs out of memory: one
    command sees them all through.

    Each is stopped in the middle of its tasks, and none of the finished ones is done again.
    """
    victims = ["base/none/w0", "adapted/eu/w1", "instruct/none/w0", "linear/eu/w1"]
    project = again(finished, tmp_path, *victims)
    # Another backbone, so that it alone asks for too little memory: the second attempt gets twice
    # as much.
    instruct = project.folder / "results" / "tiny" / "models" / "tiny" / "instruct" / "none" / "w0"
    hungry = {
        **TINY_BACKBONE,
        "models": {"instruct": {"path": str(instruct)}},
        "resources": {"evaluate": {"mem_mb": 450}},
    }
    project.write("backbones/hungry.yaml", hungry)
    project.configure(backbones=["tiny", "hungry"])
    project.config["experiments"]["sweep"]["backbones"] = ["tiny"]
    project.configure()
    process = start(project)
    found: dict[str, int] = {}
    killed: dict[str, str] = {}
    kept: dict[Path, int] = {}

    def stop_at_once() -> None:
        """Two run at a time: while one is looked after, the other must not be over."""
        for name in set(victims) - set(found):
            if pid := process_of(project, name):
                os.kill(pid, signal.SIGSTOP)
                found[name] = pid

    try:
        with watching(stop_at_once, 0.1):
            while waiting := [name for name in victims if name not in killed]:
                name = wait_for(
                    "an evaluation", lambda: next((name for name in waiting if name in found), None), process
                )
                job, done = freeze(project, name, process, found[name])
                kept |= done
                killed[name] = job
                if name == "adapted/eu/w1":
                    subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=1"], check=True)
                elif name == "instruct/none/w0":
                    requeue(job)
                else:
                    subprocess.run(["scancel", job], check=True)
        process.wait(SECONDS)
    finally:
        if process.poll() is None:
            kill(process)
            subprocess.run(["scancel", "--user=root"], check=True)
    said = (project.folder / "snakemake.log").read_text()
    assert process.returncode == 0, said
    states = slurm_states()
    assert [states[killed[name]] for name in victims] == ["CANCELLED", "TIMEOUT", "COMPLETED", "CANCELLED"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "a finished task was done again"
    assert over_memory(project) == [("450M", "FAILED", True), ("900M", "COMPLETED", False)]
    theirs = [line for line in scores(project).splitlines() if not line.startswith("hungry,")]
    assert theirs == scores(finished).splitlines()
    # All but the requeued one are failures to Snakemake.
    assert len({*re.findall(r"log: (results/tiny/logs/evaluate/\w+/\w+\.log)", said)}) >= 4


def test_a_killed_controller(finished: Project, tmp_path: Path) -> None:
    """Its jobs go on without it. The next one cancels them, does not repeat what they finished, and
    completes the run.
    """
    name = "adapted/eu/w1"
    project = again(finished, tmp_path, name, "linear/eu/w0.5")
    process = start(project)
    pid = wait_for("the evaluation", lambda: process_of(project, name), process)
    job, done = freeze(project, name, process, pid)
    kill(process)
    assert slurm_states()[job] == "RUNNING"
    assert "cannot be locked" in run_on_slurm(project, status=1)
    run_on_slurm(project, "--unlock")
    said = run_on_slurm(project)
    assert re.search(rf"killed run .*cancelled: .*\b{job}\b", said)
    assert slurm_states()[job] == "CANCELLED"
    assert {path: path.stat().st_mtime_ns for path in done} == done, "a finished task was done again"
    assert scores(project) == scores(finished)


def test_a_site_that_slurm_does_not_know(finished: Project, tmp_path: Path) -> None:
    """It is said before any job is submitted, once, with the file to fix."""
    project = again(finished, tmp_path, "base/none/w0")
    before = set(slurm_states())
    for settings, message in (
        ({"partition": "nope"}, "invalid partition specified: nope"),
        ({"type": "a100"}, "Requested node configuration is not available"),
        ({"options": "--mem=4"}, "sets the memory"),
    ):
        (project.folder / "slurm" / "site.yaml").write_text(yaml.safe_dump({"gpu": settings}))
        said = run_on_slurm(project, status=1)
        assert "slurm/site.yaml: " in said
        assert message in said
        assert "Traceback" not in said
    # Slurm forgets finished jobs after some minutes.
    assert set(slurm_states()) <= before


def test_disk_is_bounded(wide: Wide) -> None:
    """At most `live_merges` checkpoints are there at any time.

    One evaluation fails in its first attempt; its checkpoint must go, too, and not stay beside
    those of the others.
    """
    wide.process.wait(SECONDS)
    project = wide.project
    said = (project.folder / "snakemake.log").read_text()
    assert wide.process.returncode == 0, said
    assert len(wide.wanted) == 60
    assert all((project.folder / name).is_file() for name in wide.wanted)
    assert 2 <= max(wide.peaks) <= LIVE_MERGES
    assert "log: results/wide/logs/evaluate/tiny/" in said
    assert (project.folder / "failed_once").is_dir()
    assert not project.results("models/tiny/linear/*/*")


def test_a_training_on_two_nodes_goes_on_after_a_warning(slurm: Path, tmp_path: Path) -> None:
    """One submission; the warned job saves, requeues itself, and makes each step once.

    The signal is that of the time limit. Slurm holds a requeued job for two minutes.
    """
    config, backbone = copy.deepcopy(TINY_RUN), copy.deepcopy(TINY_BACKBONE)
    backbone["resources"]["train"] = {"nodes": 2, "gpus": 1, "threads": 1, "mem_mb": 3000, "runtime": MINUTES}
    # A checkpoint after each step makes steps slow and costs no processor.
    backbone["models"]["base"]["train"] |= {"steps": STEPS, "save_minutes": 0}
    project = new_project(tmp_path / NAME, config)
    project.write("backbones/tiny.yaml", backbone)
    (project.folder / "slurm" / "site.yaml").write_text(
        yaml.safe_dump({"cpu": {"partition": "test"}, "gpu": {"partition": "gpu", "options": "--nice=7"}})
    )
    model = project.folder / "results/tiny/models/tiny/base/none/w0"

    def job() -> dict[str, str]:
        """The training's record, when it is submitted."""
        found = [record for record in job_records().values() if "train_ranks" in record.get("StdOut", "")]
        return {} if not found else found[0]

    process = start(project, str(model.relative_to(project.folder)), "--retries=0")
    try:
        if MINUTES > 1:  # else Slurm warns it
            noted = f".{model.name}.training-*/step-5"
            wait_for("the fifth step", lambda: list(model.parent.glob(noted)), process)
            subprocess.run(["scancel", "--signal=USR1", job()["JobId"]], check=True)
        process.wait(SECONDS)
    finally:
        if process.poll() is None:
            kill(process)
    assert process.returncode == 0, (project.folder / "snakemake.log").read_text() + project.logs()
    history = [json.loads(line) for line in (model / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history] == [*range(1, STEPS + 1)]
    legs = max(line["leg"] for line in history)
    record = job()
    asked = [record[key] for key in ("JobState", "NumNodes", "NumTasks", "Nice", "Restarts")]
    assert asked == ["COMPLETED", "2", "2", "7", str(legs - 1)]
    assert legs == 2 if MINUTES > 1 else legs > 2
    assert record["TresPerNode"] == "gres:gpu:1"


def test_a_slurm_of_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slurm.conf").write_text("ClusterName=theirs\n")
    monkeypatch.setattr(cluster, "SETTINGS", tmp_path)
    with pytest.raises(cluster.Unavailable), cluster.running_cluster():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["slurm.conf"]
