"""`langmerge run` in a terminal of its own: what it prints, and that it can be interrupted."""

from __future__ import annotations

import copy
import os
import pty
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from support.project import TINY_BACKBONE, TINY_RUN, Project

pytestmark = pytest.mark.workflow

LEFT = re.compile(r"about ([\d.]+) (s|min|h) left")
SECONDS = {"s": 1, "min": 60, "h": 3600}


@pytest.fixture
def project(tmp_path) -> Project:
    """A run of one language whose slow commands are pretended, except for training."""
    run = copy.deepcopy(TINY_RUN) | {"weights": [0.25, 0.5, 0.75, 1, 1.5], "world": {**TINY_RUN["world"], "lines": 200}}
    project = Project.new(tmp_path / "project", run).with_stubs("batch", "merge", "report")
    hours = {"train": 0.004, "merge": 0.0004, "evaluate": 0.0005}  # a run corrects them by its own jobs
    project.write("backbones/tiny.yaml", {**TINY_BACKBONE, "hours": hours})
    return project


class Terminal:
    """A command in a pseudo-terminal of 100 columns.

    Attributes:
        text: all that it has written; seen: when each piece of it came.
    """

    def __init__(self, project: Project, *arguments: str) -> None:
        self.control, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "langmerge", "run", "--cores", "2", *arguments],
            cwd=project.folder,
            env={**project.environment, "COLUMNS": "100", "TERM": "xterm"},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
        )
        os.close(other)
        self.text = ""
        self.seen: list[tuple[float, str]] = []

    def pieces(self) -> Iterator[str]:
        """What it writes, piece by piece, until it ends."""
        while True:
            try:
                piece = os.read(self.control, 65536).decode(errors="replace")
            except OSError:  # Linux's way to say that nobody writes any more
                return
            if not piece:
                return
            self.text += piece
            self.seen.append((time.monotonic(), piece))
            yield piece

    def wait(self) -> int:
        for _ in self.pieces():
            pass
        return self.process.wait(timeout=60)

    @property
    def lines(self) -> list[str]:
        """The lines that stay: what was written over does not."""
        return [line.split("\r")[-1].removeprefix("\x1b[K") for line in self.text.replace("\r\n", "\n").split("\n")]


def test_a_run_from_nothing_to_its_end(project):
    started = time.monotonic()
    terminal = Terminal(project)
    assert terminal.wait() == 0, terminal.text
    took = time.monotonic() - started
    shown = terminal.lines
    assert len(shown) <= 60
    assert max(map(len, re.split(r"[\r\n]", terminal.text))) <= 200
    assert any(re.match(r"results/tiny: \d+ jobs", line) for line in shown)
    assert any(
        "Done. Scores: results/tiny/scores.csv; results/tiny/tables and results/tiny/figures" in line for line in shown
    )
    assert any("All of it in one page: results/tiny/report.html" in line for line in shown)
    assert any("The merge that gained most in its language is tiny/linear/eu/w" in line for line in shown)
    assert sum("Benchmarks (accuracy, %)" in line or "IFEval (strict accuracy, %)" in line for line in shown) == 2
    # The time left, after the first quarter.
    ratios = []
    for moment, piece in terminal.seen:
        for number, unit in LEFT.findall(piece):
            rest = took - (moment - started)
            if 0.25 * took < moment - started < 0.75 * took:
                ratios.append(float(number) * SECONDS[unit] / rest)
    assert ratios and 0.5 <= statistics.median(ratios) <= 2, ratios
    # A second call has nothing to do, and says where the results are.
    (project.folder / "results/tiny/tables/old.md").write_text("of a wider configuration")
    again = Terminal(project)
    assert again.wait() == 0
    assert any("Done. Scores: results/tiny/scores.csv" in line for line in again.lines)
    assert (project.folder / "results/tiny/outdated/tables/old.md").is_file()


def test_ctrl_c_loses_nothing(project):
    terminal = Terminal(project)
    for _ in terminal.pieces():
        if re.search("now: .*(train|corpus)", terminal.text):
            os.write(terminal.control, b"\x03")
            break
    assert terminal.wait() == 130, terminal.text
    assert "Interrupted. Nothing is lost" in terminal.text
    assert "To go on: " in terminal.text
    assert "failed:" not in terminal.text and "Error" not in terminal.text and "Traceback" not in terminal.text
    assert Terminal(project, "--dry-run").wait() == 0, "the lock was released"


def test_a_failure_is_one_line_with_the_last_sentence_of_its_log(project):
    program = project.programs / "langmerge"
    broken = "tokenizer) echo 'error: no corpus is long enough. Add text.' >&2; exit 1 ;;"
    program.write_text(program.read_text().replace("case $1 in", f"case $1 in\n  {broken}"))
    terminal = Terminal(project)
    assert terminal.wait() == 1
    (line,) = [line for line in terminal.lines if line.startswith("failed: ")]
    log = "results/tiny/logs/tokenizer/tiny.log"
    assert line == f"failed: tokenizer tiny: no corpus is long enough. Add text. ({log})"
    assert "1 job failed. What is finished is kept." in terminal.text
    assert "Traceback" not in terminal.text and "message: None" not in terminal.text
    assert len(terminal.lines) <= 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cores", "0"], "--cores 0: expected a number above 0, or all"),
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        (["config"], "config is a folder, expected a YAML file"),
        (["--config", "weights"], "--config weights: expected KEY=VALUE"),
        (["--config", "weights=[0.5,heavy]"], "--config: weights.1: found 'heavy', expected a number"),
    ],
)
def test_what_it_cannot_understand(project, arguments, words):
    terminal = Terminal(project, *arguments)
    assert terminal.wait() == 1
    assert words in " ".join(terminal.text.split())
    assert "Traceback" not in terminal.text
