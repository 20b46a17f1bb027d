"""The package's structure: no import cycle, light imports, files that can be read in one sitting,
one of each thing.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

PACKAGE = ROOT / "scripts" / "langmerge"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 350
LONG = {"merging/kernels.py"}
"""Numba compiles again what is in a file that has changed, so that all kernels are in one."""

HEAVY = {
    "torch",
    "pandas",
    "matplotlib",
    "numba",
    "lm_eval",
    "datasets",
    "transformers",
    "scipy",
    "pyarrow",
    "datatrove",
}


def module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in SOURCES}


def imports(path: Path, lazy: bool) -> set[str]:
    """The package's modules that a file imports; `lazy`: also those that it imports in a function
    or for type checkers.
    """
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy else tree.body
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("langmerge"):
            found |= {
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in MODULES else node.module
                for alias in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("langmerge")}
    return {name for name in found if name in MODULES}


def test_there_are_modules_that_import_one_another():
    assert len(MODULES) > 60
    assert "langmerge.grid.config" in imports(PACKAGE / "grid" / "models.py", lazy=False)


def test_no_import_cycle():
    graph = {name: imports(path, lazy=False) for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_can_be_read_in_one_sitting(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES or path.relative_to(PACKAGE).as_posix() in LONG


STAGES = ("corpora", "merging", "training", "evaluation", "reporting", "search", "mini", "hub", "slurm", "publishing")

ALSO = {
    "mini": ("grid",),
    "slurm": ("grid",),
    "search": ("reporting",),
    "publishing": ("grid", "merging", "evaluation", "reporting", "hub"),
}
"""What else a stage may import: a search reads kept answers, as the reports do; a published model
is merged, and has scores.
"""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_its_own_package_and_what_all_share(stage):
    files = [path for name, path in MODULES.items() if name.startswith(f"langmerge.{stage}")]
    assert files
    for path in files:
        others = {name.split(".")[1] for name in imports(path, lazy=True) if name.count(".") > 1}
        allowed = {stage, *ALSO.get(stage, ())}
        assert others <= allowed, path


def test_each_thing_is_defined_once():
    text = {path: path.read_text(encoding="utf-8") for path in [*SOURCES, *(ROOT / "workflow").rglob("*.smk")]}
    for pattern in (r"^class Model\b", r"^SEMANTICS\b.*=", r"^MEASURES\b.*=", r"^REFERENCES\b.*=", r"^class Job\b"):
        files = [path for path, content in text.items() if re.search(pattern, content, re.MULTILINE)]
        if pattern == r"^class Job\b":
            files = [path for path in files if "merging" not in path.parts]  # a tensor of a merge, no job of a run
        assert len(files) == 1, (pattern, files)


def test_nobody_edits_the_import_path():
    mentions = "sys" + ".path"
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    paths = [ROOT / name for name in files.splitlines() if name.endswith((".py", ".smk", "run"))]
    assert len(paths) > 100
    assert not [path for path in paths if path.is_file() and mentions in path.read_text(encoding="utf-8")]


LOOK = """
import json, os, sys
before = dict(os.environ)
import {module}
changed = sorted(key for key in {{*before, *os.environ}} if before.get(key) != os.environ.get(key))
print(json.dumps({{"changed": changed, "loaded": sorted(name for name in sys.modules if "." not in name)}}))
"""


@pytest.mark.parametrize(
    "name", ["langmerge.grid.grid", "langmerge.commands.plan", "langmerge.commands.status", "langmerge.slurm.site"]
)
def test_a_dry_run_imports_nothing_heavy_and_changes_no_environment_variable(name):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(module=name)], capture_output=True, text=True, env=environment, check=True
    )
    found = json.loads(done.stdout)
    assert found["changed"] == []
    assert not HEAVY & {*found["loaded"]}


def test_every_rule_says_where_it_runs_and_logs():
    """Rules that only gather are local rules; every other one has a log."""
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            name, body = rule.split(":", 1)
            assert "run:\n" not in body, name
            assert "localrule: True" in body or "resources:" in body, name
            assert "log:" in body or "shell:" not in body, name


PUBLIC = "from snakemake.utils import min_version"


def test_only_one_file_knows_snakemake_from_inside():
    rules = [*(ROOT / "workflow").rglob("*.smk"), ROOT / "Snakefile"]
    text = {path: path.read_text(encoding="utf-8").replace(PUBLIC, "") for path in [*SOURCES, *rules]}
    assert [
        path.name for path, content in text.items() if re.search(r"^\s*(from|import) snakemake", content, re.MULTILINE)
    ] == ["controller.py"]
    assert [path.name for path, content in text.items() if re.search(r"\bworkflow\.(?!rst)[a-z_]+", content)] == [
        "controller.py"
    ]
