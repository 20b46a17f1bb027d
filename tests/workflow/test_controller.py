"""langmerge/controller.py: what it takes from Snakemake's internals is there, and says what it
should.
"""

from __future__ import annotations

import pytest

from support.paths import ROOT
from support.project import Project

pytestmark = pytest.mark.workflow

LOOK = """
include: {snakefile!r}

look = {{
    "configuration": controller.configuration,
    "is_main": controller.is_main,
    "is_job_on_node": controller.is_job_on_node,
    "submits": controller.submits,
    "at_once": controller.jobs_at_once(1, 0),
    "with_two_threads": controller.jobs_at_once(2, 0),
    "with_three_threads": controller.jobs_at_once(3, 0),
    "with_a_gpu": controller.jobs_at_once(1, 1),
    "live_merges": getattr(workflow.global_resources["live_merges"], "value", workflow.global_resources["live_merges"]),
    "forbidden": len(controller.forbidden_slurm_options()) > 3,
}}
print("LOOK", look)
"""

RUN = {
    "run": "looked-at",
    "languages": ["eu"],
    "backbones": ["mini"],
    "weights": [1],
    "methods": {"linear": {"merge_method": "linear"}},
    "experiments": {"one": {"methods": ["linear"]}},
    "tasks": [{"task": "mini_grammar_{language}", "measure": "benchmark", "metric": "acc"}],
    "live_merges": 3,
}


def looked(project: Project, *arguments: str) -> dict:
    snakefile = project.folder / "Look"
    snakefile.write_text(LOOK.format(snakefile=str(ROOT / "Snakefile")))
    output = project.run("--dry-run", "--quiet", "rules", *arguments, snakefile=snakefile).output
    (line,) = {line for line in output.splitlines() if line.startswith("LOOK")}
    return eval(line.removeprefix("LOOK "))


def test_on_one_machine(tmp_path):
    found = looked(Project.new(tmp_path / "project", dict(RUN)))
    assert found == {
        "configuration": "config/config.yaml",
        "is_main": True,
        "is_job_on_node": False,
        "submits": False,
        "at_once": 2,
        "with_two_threads": 1,
        "with_three_threads": 1,
        "with_a_gpu": 2,
        "live_merges": 3,
        "forbidden": True,
    }


def test_the_command_lines_limit_goes_first(tmp_path):
    assert looked(Project.new(tmp_path / "project", dict(RUN)), "--resources", "live_merges=1")["live_merges"] == 1
    assert looked(Project.new(tmp_path / "other", dict(RUN)), "--resources", "gpu=1")["with_a_gpu"] == 1


def test_rules_of_another_checkout_are_refused(tmp_path):
    other = Project.in_checkout(tmp_path / "other", dict(RUN))
    project = Project.new(tmp_path / "project", dict(RUN))
    output = project.run("--dry-run", expect=1, snakefile=other.folder / "Snakefile").output
    assert "two checkouts" in output
    assert "Traceback" not in output
