"""A project of a test's own: a copy of the workflow with a tiny run, in which Snakemake really runs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

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
            "generation": {"do_sample": True, "temperature": 0.5, "max_gen_toks": 8},
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


@dataclass
class Project:
    """A folder with the workflow and one tiny run.

    Attributes:
        folder: the project's root.
        config: the run's configuration; change it and call `configure`.
    """

    folder: Path
    config: dict

    @classmethod
    def new(cls, folder: Path, config: dict) -> Project:
        for name in ("Snakefile", "workflow", "config", "scripts", "profiles", "slurm", "envs"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder / name)
        project = cls(folder, config)
        project.configure()
        (folder / "config" / "backbones" / "tiny.yaml").write_text(yaml.safe_dump(TINY_BACKBONE))
        return project

    def copy(self, folder: Path) -> Project:
        """The project as it is, with all its results and Snakemake's own records."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, yaml.safe_load((folder / "config" / "config.yaml").read_text()))

    def configure(self, **changes) -> None:
        self.config.update(changes)
        (self.folder / "config" / "config.yaml").write_text(yaml.safe_dump(self.config))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self, *arguments: str, expect: int = 0) -> Ran:
        """Run Snakemake to its end and return what it did."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
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
        """Start Snakemake in a process group of its own, so that a test can kill it with all its children."""
        output = (self.folder / "snakemake.log").open("w")
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def results(self, pattern: str) -> list[Path]:
        return sorted((self.folder / "results" / self.config["run"]).glob(pattern))

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


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to a whole process group: what a node failure looks like to those who come after."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
