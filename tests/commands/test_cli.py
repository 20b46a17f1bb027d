"""The command `langmerge` and the files of scripts/."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from langmerge import VERSION, cli
from langmerge.errors import UserError
from support.paths import ROOT

WITHOUT_SCRIPT = {"inspect"}
"""A file scripts/inspect.py would hide Python's own module from the scripts beside it."""


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_a_file_in_scripts(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: langmerge {name}")
    assert import_module(f"langmerge.commands.{name}").__doc__.splitlines()[0] in " ".join(shown.split())
    if name not in WITHOUT_SCRIPT:
        assert "run_script(__file__)" in (ROOT / "scripts" / f"{name}.py").read_text()


def test_there_is_no_script_without_a_command():
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == {*cli.COMMANDS} - WITHOUT_SCRIPT


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_the_commands(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"langmerge {VERSION}\n"


def test_an_unknown_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["marge"])
    assert ended.value.code == 2
    assert "marge" in capsys.readouterr().err


@pytest.mark.parametrize("program", [[str(Path(sys.prefix, "bin", "langmerge"))], [sys.executable, "-m", "langmerge"]])
def test_the_command_works_in_any_folder(program, tmp_path):
    done = subprocess.run([*program, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"langmerge {VERSION}\n"


def test_a_file_of_scripts_works_in_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "plan.py", "nowhere.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: nowhere.yaml: no such file.")


@pytest.mark.parametrize(
    ("raised", "message", "status"),
    [
        (UserError("config/x.yaml: run: wrong."), "error: config/x.yaml: run: wrong.", None),
        (FileNotFoundError(2, "No such file or directory", "there"), "error: No such file or directory: there", None),
        (KeyboardInterrupt(), "", 130),
    ],
)
def test_mistakes_end_in_one_line(raised, message, status, monkeypatch):
    def fails(_options):
        raise raised

    monkeypatch.setattr("langmerge.commands.plan.run", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", "x.yaml"])
    assert ended.value.code == (status or message)


def test_a_silent_job_touches_its_log_and_says_that_it_was_stopped(tmp_path):
    log = tmp_path / "job.log"
    code = "import time; from langmerge import cli; import langmerge.commands.plan as plan; cli.HEARTBEAT = 0.1\n"
    code += "plan.run = lambda options: time.sleep(60); cli.main(['plan', 'x'])"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", code], stderr=file)
    try:
        first = log.stat().st_mtime_ns
        deadline = time.monotonic() + 30
        while log.stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert "error: stopped by SIGTERM" in log.read_text()
