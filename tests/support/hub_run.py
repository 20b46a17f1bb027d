"""A run that needs two models and a data set of a hub, in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import yaml
from huggingface_hub import close_session, constants

from langmerge.commands import prefetch
from langmerge.errors import UserError
from support.commands import call
from support.hub import COMMIT, Hub
from support.paths import ROOT

MB = 2**20

RUN = {
    "run": "real",
    "cache": "results/the run's cäche",
    "languages": ["eu"],
    "backbones": ["small"],
    "weights": [1],
    "methods": {"linear": {"merge_method": "linear"}},
    "experiments": {"one": {"methods": ["linear"]}},
    "tasks": [{"task": "{benchmark}", "measure": "benchmark", "metric": "acc"}],
}

BACKBONE = {
    "dtype": "float32",
    "models": {
        "instruct": {"hub": "lab/small-instruct", "gb": 3.5},
        "adapted": {"hub": "lab/small-{language}", "revision": COMMIT},
    },
}

BENCHMARKS = {"quiz_eu": {"dataset": "lab/quiz", "files": ["data/eu/*"], "gb": 0.5}}

QUIZ = {
    "README.md": b"---\nconfigs:\n- config_name: eu\n  data_files: data/eu/test.jsonl\n---\n",
    "data/eu/test.jsonl": b'{"question": "Zer?"}\n{"question": "Nor?"}\n',
    "data/sw/test.jsonl": b'{"question": "Nini?"}\n',
}

QUIZ_COMMIT = "d" * 40

CHANGED = ("HF_", "HUGGING")
"""How the names of the variables begin that huggingface_hub reads."""


@contextmanager
def using(url: str, home: Path, token: str | None = None) -> Iterator[None]:
    """This process as one that has begun with the address of a hub, and a user who is logged in or
    not. Uploads go without Xet, whose servers no test has.
    """
    variables = {"no_proxy": "*", "HF_HUB_OFFLINE": "1", **({"HF_TOKEN": token} if token else {})}
    others = {name: value for name, value in os.environ.items() if not name.startswith(CHANGED)}
    with (
        patch.dict(os.environ, {**others, **variables}, clear=True),
        # What a new process reads of its environment.
        patch.multiple(
            constants,
            ENDPOINT=url,
            HUGGINGFACE_CO_URL_TEMPLATE=url + "/{repo_id}/resolve/{revision}/{filename}",
            HF_HUB_OFFLINE=False,
            HF_HUB_DISABLE_XET=True,
            HF_TOKEN_PATH=str(home / "token"),
        ),
    ):
        close_session()
        yield


class Work:
    """A user's folder, in which `langmerge prefetch` is called.

    Attributes:
        folder: the folder.
        cache: what `cache` of the configuration means.
        environment: for processes that use the test's hub.
    """

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.folder, self.cache, self.hub = folder, folder / RUN["cache"], hub
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(CHANGED)}
        self.environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "no_proxy": "*"}
        self.write("config.yaml", RUN)
        self.write("backbones/small.yaml", BACKBONE)
        self.write("benchmarks.yaml", BENCHMARKS)
        language = yaml.safe_load((ROOT / "config/languages/eu.yaml").read_text())
        self.write("languages/eu.yaml", {**language, "benchmarks": {"quiz_eu": {}}})

    def write(self, name: str, content: object) -> None:
        """Write a YAML file of config/."""
        path = self.folder / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))

    def write_backbone(self, **models: dict) -> None:
        """Change models of the backbone."""
        self.write("backbones/small.yaml", {**BACKBONE, "models": {**BACKBONE["models"], **models}})

    def run(self, *options: str, expect: int = 0, url: str | None = None, token: str | None = None) -> str:
        """Call `langmerge prefetch` in this process; return what it printed, or its error.

        Args:
            url: of another hub.
            token: of a user who is logged in.
        """
        with (
            chdir(self.folder),
            using(url or self.hub.url, self.folder / "home", token),
            redirect_stdout(StringIO()) as out,
            redirect_stderr(out),
        ):
            try:
                call(prefetch, "config/config.yaml", *options)
                status = 0
            except UserError as error:
                print(error)
                status = 1
        assert status == expect, out.getvalue()
        return out.getvalue()

    @property
    def instruct(self) -> Path:
        return self.cache / "models" / "lab--small-instruct@main"

    @property
    def quiz(self) -> Path:
        return self.cache / "datasets" / "lab--quiz@main"


def contents(folder: Path, without: Sequence[str] = ("langmerge.json", ".langmerge.json")) -> dict[str, bytes]:
    """The files of a folder of the cache, without its record."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in files.items() if name not in without}
