"""Projects of the tests' own: a user's folder with a tiny run, in which Snakemake really runs."""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from langmerge.grid.grid import Grid
from support import stub
from support.paths import ROOT

TINY_RUN = {
    "run": "tiny",
    "languages": ["eu"],
    "evaluation_languages": ["en"],
    "backbones": ["tiny"],
    "weights": [0.5, 1],
    "methods": {"linear": {"merge_method": "linear"}, "task_arithmetic": {"merge_method": "task_arithmetic"}},
    "experiments": {"sweep": {"methods": ["linear"], "evaluate": "target"}},
    "tasks": [
        {"task": "mini_grammar_{language}", "measure": "benchmark", "metric": "acc"},
        {
            "task": "mini_ifeval_{language}",
            "measure": "ifeval",
            "metric": "inst_level_strict_acc",
            "seeds": [21, 22],
            "generation": {"temperature": 0.5, "top_p": 1, "top_k": 0, "max_gen_toks": 8},
        },
    ],
    "world": {"lines": 400, "documents": 8, "translations": 4, "prompts": 4},
    "tables": {
        "table2": {"layout": "adapted"},
        "table3": {"layout": "merges", "methods": ["linear"], "weights": {"each": 1}},
    },
    "figures": {"figure1": {"methods": ["linear"]}},
}

TINY_TRAINING = {"dtype": "float32", "sequence_length": 64, "batch_size": 4, "steps": 4, "learning_rate": 0.001}

TINY_BACKBONE = {
    "label": "Tiny",
    "dtype": "bfloat16",
    "tokenizer": {"vocab_size": 400, "corpora": ["en/corpus"]},
    "models": {
        "base": {
            "train": {
                "init": {
                    "model_type": "llama",
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 2,
                    "tie_word_embeddings": True,
                },
                "data": {"en/corpus": 1},
                **TINY_TRAINING,
            }
        },
        "instruct": {"train": {"from": "base", "data": {"en/instructions": 1}, **TINY_TRAINING}},
        "adapted": {"train": {"from": "base", "data": {"{language}/corpus": 0.9, "en/corpus": 0.1}, **TINY_TRAINING}},
    },
    "backend": {"backend": "hf", "dtype": "float32", "batch_size": 16, "max_length": 512},
    "resources": {"train": {"threads": 1}},
}


PARTS_OF_A_CHECKOUT = ("Snakefile", "pyproject.toml", "workflow", "config", "scripts", "profiles", "slurm", "envs")


@dataclass
class Project:
    """A user's own folder with the configuration of a tiny run.

    Attributes:
        folder: the user's folder.
        config: the run's configuration, config/config.yaml; change it and call `configure`.
        checkout: whose Snakefile runs.
        programs: a folder whose programs go before those of the environment.
    """

    folder: Path
    config: dict
    checkout: Path = ROOT
    programs: Path | None = None

    @classmethod
    def new(cls, folder: Path, config: dict) -> Project:
        """A folder that holds nothing but its configuration."""
        project = cls(folder, config)
        project.configure()
        project.write("backbones/tiny.yaml", TINY_BACKBONE)
        return project

    @classmethod
    def in_checkout(cls, folder: Path, config: dict) -> Project:
        """A checkout of its own, in which Snakemake runs: the user's folder and the checkout are
        one.
        """
        ignored = shutil.ignore_patterns("__pycache__", "site.yaml")
        for name in PARTS_OF_A_CHECKOUT:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder / name)
        project = cls(folder, config, checkout=folder)
        project.configure()
        project.write("backbones/tiny.yaml", TINY_BACKBONE)
        return project

    def copy(self, folder: Path) -> Project:
        """The folder as it is, with all its results and Snakemake's own records."""
        shutil.copytree(self.folder, folder, symlinks=True)
        config = yaml.safe_load((folder / "config" / "config.yaml").read_text())
        checkout = folder if self.checkout == self.folder else self.checkout
        return replace(self, folder=folder, config=config, checkout=checkout)

    def with_stubs(self, *commands: str, seconds: float = 0) -> Project:
        """The same folder, where slow commands, or those named, are only pretended from now on
        (tests/support/stub.py).

        Each waits for `seconds` first.
        """
        stub.install(self.folder / ".stub", commands, seconds)
        return replace(self, programs=self.folder / ".stub")

    def configure(self, **changes) -> None:
        """Change keys of the run's configuration."""
        self.config.update(changes)
        self.write("config.yaml", self.config)

    def write(self, name: str, content: object) -> None:
        """Write a YAML file of config/."""
        path = self.folder / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")

    def command(self, *arguments: str, snakefile: Path | None = None) -> list[str]:
        """Snakemake's command line, which works in any folder."""
        there = ["--snakefile", str(snakefile or self.checkout / "Snakefile"), "--directory", str(self.folder)]
        return [sys.executable, "-m", "snakemake", *there, "--cores", "2", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        folders = [*([self.programs] if self.programs else []), Path(sys.executable).parent, os.environ["PATH"]]
        environment = {**os.environ, "PATH": os.pathsep.join(map(str, folders))}
        if self.checkout != ROOT:  # its package goes before the installed one
            environment["PYTHONPATH"] = str(self.checkout / "scripts")
        return environment

    def run(self, *arguments: str, expect: int = 0, cwd: Path | None = None, snakefile: Path | None = None) -> Ran:
        """Run Snakemake to its end, called in the project's folder or another, and return what it
        did.
        """
        done = subprocess.run(
            self.command(*arguments, snakefile=snakefile),
            cwd=cwd or self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=900,
        )
        assert (done.returncode == 0) == (expect == 0), done.stdout + self.logs()
        return Ran(done.stdout)

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake in a process group of its own, so that a test can kill it with all its
        children.
        """
        output = (self.folder / "snakemake.log").open("w")
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def langmerge(self, *arguments: str, expect: int = 0) -> str:
        """Run the command `langmerge` in the project's folder; return what it printed."""
        done = subprocess.run(
            ["langmerge", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == (expect == 0), done.stdout + done.stderr
        return done.stdout + done.stderr

    def mark(self, id: str) -> str:
        """What to ask Snakemake for, to have all that a model lacks: the mark of its evaluation
        job.
        """
        with chdir(self.folder):
            grid = Grid(copy.deepcopy(self.config))
            grid.batches.at_once = 2
            (batch,) = [batch for batch in grid.batches if id in [model.id for model in batch.models]]
            return str(grid.layout.batch_done(batch.backbone, batch.name))

    def results(self, pattern: str) -> list[Path]:
        """Files of the run that match a pattern, sorted."""
        return sorted((self.folder / self.config.get("results", "results") / self.config["run"]).glob(pattern))

    def logs(self) -> str:
        """The ends of the jobs' logs, for the message of a test that fails."""
        return "".join(
            f"\n--- {path}\n{path.read_text()[-1500:]}"
            for path in self.results("logs/**/*.log")
            if "rror" in path.read_text()
        )


@dataclass
class Ran:
    """What one call of Snakemake did."""

    output: str

    @property
    def jobs(self) -> Counter:
        """How many jobs of each rule it started."""
        return Counter(re.findall(r"^(?:local)?rule (\w+):", self.output, re.MULTILINE))

    @property
    def nothing_to_do(self) -> bool:
        """Whether Snakemake found everything up to date."""
        return "Nothing to be done" in self.output and not self.jobs


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to a whole process group: what a node failure looks like to those who come after."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
