"""`langmerge evaluate` with vLLM: processes that are killed, and a run of the workflow."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from langmerge.evaluation.sealed import read_sealed
from support.project import TINY_BACKBONE, TINY_RUN, Project
from support.tiny import make_model
from support.vllm import ENVIRONMENT, make_environment, two_cores

pytestmark = [pytest.mark.vllm, pytest.mark.workflow]

GENERATION = {"temperature": 0.6, "top_p": 1, "top_k": 0, "max_gen_toks": 300}
TASKS = [
    {"task": "mini_grammar_eu", "language": "eu", "measure": "benchmark", "metric": "acc"},
    {
        "task": "mini_ifeval_eu",
        "language": "eu",
        "measure": "ifeval",
        "metric": "inst_level_strict_acc",
        "seeds": [1, 2, 3, 4],
        "generation": GENERATION,
    },
]


@pytest.fixture(scope="module", autouse=True)
def programs() -> Path:
    return make_environment()


@pytest.fixture(scope="module")
def model(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    make_model(folder, world / "eu" / "corpus.jsonl", hidden_size=64, intermediate_size=96)
    return folder


def session(leader: int) -> dict[int, str]:
    """Living processes of a session: number -> name."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has just ended
        state, _, _, group = rest.split()[:4]
        if int(group) == leader and state != "Z":
            found[int(path.parent.name)] = name
    return found


def wait_until(true, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.2)
    return bool(true())


class Evaluation:
    """The command, with two processes besides its own, one for each half of the model."""

    def __init__(self, world: Path, model: Path, folder: Path) -> None:
        self.folder = folder
        self.parts = folder / "tasks"
        backend = {"backend": "vllm", "dtype": "float32", "max_length": 1024, "tensor_parallel_size": 2}
        self.command = [Path(sys.executable).parent / "langmerge", "evaluate", model, folder / "result.json"]
        self.command += ["--include", world / "eu" / "tasks", "--chat-template"]
        self.command += ["--tasks", json.dumps(TASKS), "--backend", json.dumps(backend)]
        self.environment = {**ENVIRONMENT, "VLLM_CPU_OMP_THREADS_BIND": two_cores()}

    def start(self) -> subprocess.Popen:
        with (self.folder / "log").open("w") as log:
            return subprocess.Popen(
                list(map(str, self.command)), env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def killed(self, victim: str) -> dict[str, int]:
        """Start, kill the `engine` or the `parent` when one more task is done, and return what is
        done then.
        """
        before, process = self.done(), self.start()
        assert wait_until(lambda: self.done() != before or process.poll() is not None, 240), self.log()
        assert process.poll() is None, self.log()
        workers = [number for number, name in session(process.pid).items() if name.startswith("VLLM::Worker")]
        assert len(workers) == 2
        os.kill(process.pid if victim == "parent" else workers[-1], signal.SIGKILL)
        assert process.wait(60) not in (0, None)
        assert wait_until(lambda: not session(process.pid), 30), session(process.pid)
        assert len(before) < len(self.done()) < 5
        return self.done()

    def done(self) -> dict[str, int]:
        """The finished tasks' files, with the time of their writing."""
        return {path.name: path.stat().st_mtime_ns for path in self.parts.glob("*.json")}

    def log(self) -> str:
        return (self.folder / "log").read_text()[-6000:]


def test_killed_twice_and_continued(world, model, tmp_path):
    """First one of vLLM's processes is killed, then the command: nothing is left, and no finished
    task is repeated.
    """
    evaluation = Evaluation(world, model, tmp_path)
    first = evaluation.killed("engine")
    assert "the same command does the rest" in evaluation.log()
    second = evaluation.killed("parent")
    assert f"{len(first)} of 5 tasks are done already" in evaluation.log()
    assert first.items() <= second.items()
    assert evaluation.start().wait(400) == 0, evaluation.log()
    assert f"{len(second)} of 5 tasks are done already" in evaluation.log()
    assert second.items() <= evaluation.done().items()
    assert len(evaluation.done()) == 5
    made_with = read_sealed(tmp_path / "result.json")["made_with"]
    assert [own["versions"]["vllm"] for own in made_with] == ["0.32.0+cpu"]
    assert "cpu" in made_with[0]["device"]


def test_a_run_of_the_workflow(tmp_path):
    """Snakemake runs in .venv; its evaluations go over to vLLM's environment, and so does a search."""
    config = {**copy.deepcopy(TINY_RUN), "evaluation_languages": []}
    config["methods"] = {"linear": {"merge_method": "linear", "instruct_weight": "u", "variables": {"u": 1}}}
    config["experiments"] = {}
    config["search"] = {
        "methods": ["linear"],
        "weights": [0.5, 1, 1.5],
        "variables": {"u": [0.8, 1]},
        "measures": ["benchmark"],
        "budget": 0.7,
    }
    project = Project.new(tmp_path / "project", config)
    backbone = copy.deepcopy(TINY_BACKBONE)
    backbone["models"]["base"]["train"]["init"]["hidden_size"] = 64
    backbone["backend"] = {"backend": "vllm", "dtype": "float32", "max_length": 512}
    project.write("backbones/tiny.yaml", backbone)
    ran = project.run()
    assert ran.jobs["evaluate"] == 4, ran.jobs
    for path in project.results("scores/**/eu.*.json"):
        assert [own["versions"]["vllm"] for own in read_sealed(path)["made_with"]] == ["0.32.0+cpu"]
    [record] = map(read_sealed, project.results("searches/tiny/linear/eu.*.json"))
    states = {cell["id"]: cell["state"] for cell in record["cells"]}
    assert {*states} == {f"tiny/linear{u}/eu/w{w:g}" for u in ("", "-u0.8") for w in (0.5, 1, 1.5)}
    assert [id for id, state in states.items() if state == "found"] == record["found"]
    found = record["found"][0].replace("tiny/", "scores/tiny/", 1)
    assert project.results(f"{found}/eu.*.json") and record["asked"] <= 0.7
    assert project.run().nothing_to_do
