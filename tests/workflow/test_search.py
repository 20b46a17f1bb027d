"""A search as a part of a run: which jobs there are, and what is said of what it finds and stops."""

from __future__ import annotations

from contextlib import chdir

import pandas as pd
import pytest

from langmerge.commands.run import results
from langmerge.evaluation.sealed import read_sealed
from langmerge.grid.grid import Grid
from support.project import Project

pytestmark = pytest.mark.workflow

SEARCH = {
    "methods": ["linear"],
    "weights": [0.25, 0.5, 0.75, 1, 1.5],
    "measures": ["benchmark"],
    "evaluate": "target",
    "budget": 0.34,
}


def test_a_search_beside_a_finished_grid(finished: Project, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.configure(search=SEARCH)
    assert project.run().jobs == {
        "recipes": 1,
        "evaluate": 1,
        "collect": 1,
        "table": 2,
        "figure": 1,
        "anatomy": 1,
        "searches": 1,
        "report": 1,
        "all": 1,
    }
    assert project.run("--dry-run").nothing_to_do
    [path] = project.results("searches/tiny/linear/eu.*.json")
    record = read_sealed(path)
    states = {cell["id"]: cell["state"] for cell in record["cells"]}
    assert list(states.values()).count("found") == 1
    stopped = [id for id, state in states.items() if state.startswith("stopped: ")]
    assert stopped
    # What is stopped is said to be, and is no score.
    shown = project.langmerge("status", "config/config.yaml")
    table = project.results("tables/searches.md")[0].read_text()
    weights = {*pd.read_csv(project.results("scores.csv")[0]).weight.dropna()}
    for cell in record["cells"]:
        if cell["id"] in stopped:
            text = f"stopped after {100 * cell['asked']:.0f}% of the dev documents: the budget"
            assert f"{cell['id']}: {text}" in shown
            assert text in table
            if cell["weight"] not in (0.5, 1):
                assert cell["weight"] not in weights
    [best] = record["found"]
    assert float(best.split("/w")[1]) in weights
    with chdir(project.folder):
        said = "\n".join(results(Grid(project.config)))
    assert f"search tiny/linear/eu: {best} is best; {100 * record['asked']:.0f}% of the documents were asked." in said
    assert f"  {best}: found; " in said
    assert stopped[0] not in said
    # A larger grid asks what is missing, and the blocks are gone into its results.
    project = project.with_stubs("report")
    project.configure(weights=SEARCH["weights"])
    assert project.run().jobs["evaluate"] == 2  # one for each core
    assert not project.results("samples/**/*.block-*")
    assert project.run("--dry-run").nothing_to_do
    # What is forgotten is searched and evaluated again.
    assert "searches/tiny/linear/eu" in project.langmerge("forget", "config/config.yaml", stopped[0])
    assert project.run("--dry-run").jobs["evaluate"] == 2
