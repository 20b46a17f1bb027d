"""A real Slurm of two nodes on one machine for tests: Debian's daemons, started by hand, stopped by
process id.

Everything lives in one folder below /tmp, but for slurm.conf and gres.conf: Slurm's job steps look
for them in /etc/slurm whatever SLURM_CONF says. They carry a mark, by which a later session knows
them from a site's own, and are removed at the end.

By hand, until Ctrl-C: `PYTHONPATH=tests python -m slurm.cluster`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

SETTINGS = Path("/etc/slurm")
MARK = "# written by langmerge's tests, which remove it"
PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "setpriv": "util-linux",
}
GPUS = 2
NODES = ("n1", "n2")


class Unavailable(Exception):
    """This machine cannot run the test cluster. The message says why and what to do."""


@contextmanager
def running_cluster(cpus: int = 8, memory_mb: int = 32_000) -> Iterator[Path]:
    """Start Slurm, yield its folder (with the daemons' logs) once its nodes are idle, and stop it
    together with all its jobs.

    Each node advertises CPUs, memory and two GPUs, whether or not the machine has them; a job's
    GPUs are only CUDA_VISIBLE_DEVICES.

    Raises:
        Unavailable: not root, packages missing, a Slurm of somebody else's, or a daemon that does
            not start.
    """
    _check()
    with ExitStack() as stack:
        stack.enter_context(_only_one())
        folder = Path(tempfile.mkdtemp(prefix="langmerge-slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # munged runs as its own user
        for name, text in _settings(folder, cpus, memory_mb).items():
            stack.callback((SETTINGS / name).unlink, missing_ok=True)
            (SETTINGS / name).write_text(text)
        for index in range(GPUS):
            # A twin of /dev/null: with plain files Slurm counts GPUs but sets no
            # CUDA_VISIBLE_DEVICES.
            subprocess.run(["mknod", folder / f"gpu{index}", "c", "1", "3"], check=True)
        stack.enter_context(_munged(folder))
        stack.enter_context(_daemon(folder, "slurmctld", ["slurmctld", "-D"]))
        for node in NODES:
            stack.enter_context(_daemon(folder, f"slurmd-{node}", ["slurmd", "-D", "-N", node]))
        stack.callback(_cancel_jobs)
        _wait(folder, ["sinfo", "--noheader", "--format=%D %T", "--partition=test"], f"{len(NODES)} idle")
        yield folder


def _check() -> None:
    if os.geteuid() != 0:
        raise Unavailable("a test Slurm needs root")
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        raise Unavailable(f"not installed: apt-get install --no-install-recommends {' '.join(missing)}")
    for name in ("slurm.conf", "gres.conf"):
        path = SETTINGS / name
        if path.exists() and MARK not in path.read_text():
            raise Unavailable(f"{path} is not of these tests: this machine has a Slurm of its own")


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold the machine's one place for a test Slurm; the kernel gives it back however this process
    ends.
    """
    with Path("/run/lock/langmerge-slurm.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable("another session of the tests runs its Slurm now") from error
        yield


def _settings(folder: Path, cpus: int, memory_mb: int) -> dict[str, str]:
    host = socket.gethostname().split(".")[0]
    controller_port, *node_ports = _free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{GPUS}"
        for node, port in zip(NODES, node_ports, strict=True)
    )
    slurm = f"""{MARK}
ClusterName=langmerge
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
# no control groups, so that it runs in a container; memory limits are kept by looking at the
# processes
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2
ReturnToService=2
# a job that is told to end and does not is killed after so many seconds
KillWait=10
# finished jobs stay visible to squeue, which the profile asks for states
MinJobAge=600
GresTypes=gpu
# take the nodes' size from here, not from the machine
SlurmdParameters=config_overrides
{nodes}
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=1-12:00:00 State=UP
"""
    return {
        "slurm.conf": slurm,
        "gres.conf": f"{MARK}\nAutoDetect=off\nName=gpu File={folder}/gpu[0-{GPUS - 1}] Flags=nvidia_gpu_env\n",
    }


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _munged(folder: Path) -> Iterator[None]:
    home = folder / "munge"
    home.mkdir()
    (home / "key").write_bytes(os.urandom(128))
    (home / "key").chmod(0o400)
    for path in (home, home / "key"):
        shutil.chown(path, "munge", "munge")
    files = [
        f"--{option}={home / name}"
        for option, name in {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}.items()
    ]
    command = ["munged", "--foreground", f"--log-file={home}/log", *files]
    with _daemon(folder, "munged", command, "--reuid=munge", "--regid=munge", "--clear-groups"):
        _wait(folder, ["munge", "--no-input", f"--socket={home}/socket"], "MUNGE")
        yield


@contextmanager
def _daemon(folder: Path, name: str, command: list[str], *as_user: str) -> Iterator[None]:
    """Run a daemon in the foreground; it is told to end with this process too, should pytest be
    killed.
    """
    for needed in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / needed).mkdir(exist_ok=True)
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", *as_user, *command], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(folder: Path, command: list[str], expected: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode == 0 and expected in answer.stdout:
            return
        time.sleep(0.1)
    logs = "".join(f"\n--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(folder.glob("*.log")))
    raise Unavailable(
        f"`{' '.join(command)}` did not say {expected!r} within {seconds:.0f} s but {answer.stdout + answer.stderr!r}{logs}"
    )


def _cancel_jobs() -> None:
    """Cancel every job and wait until the last one has ended, so that no job's process outlives the
    daemons.
    """
    subprocess.run(["scancel", "--full", "--signal=KILL", "--user=root"], capture_output=True)
    subprocess.run(["scancel", "--user=root"], capture_output=True)
    deadline = time.monotonic() + 20
    while (
        time.monotonic() < deadline
        and subprocess.run(["squeue", "--noheader"], capture_output=True, text=True).stdout.strip()
    ):
        time.sleep(0.2)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running_cluster() as where, suppress(KeyboardInterrupt):
        print(f"Slurm is up; its folder is {where}. Ctrl-C stops it.", flush=True)
        signal.pause()
