"""`langmerge replay` on a run whose answers are written by hand."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from langmerge.commands import replay
from langmerge.errors import UserError
from langmerge.evaluation.scores import part
from langmerge.evaluation.sealed import write_sealed
from langmerge.files import write_bytes
from langmerge.grid.grid import Grid, read_run
from langmerge.reporting.pairing import comparisons, units
from langmerge.reporting.samples import answers_file
from langmerge.search.replay import Settings, drawn_halves, families, kept_halves, measured
from support.commands import call
from support.project import TINY_RUN

WEIGHTS = [0.25, 0.5, 1, 2]
COUNT = 120


@pytest.fixture
def grid(tmp_path, monkeypatch) -> Grid:
    """A finished run: the score is best at w = 1, and instructions are lost as w grows."""
    monkeypatch.chdir(tmp_path)
    run = {**TINY_RUN, "backbones": ["mini"], "weights": WEIGHTS, "evaluation_languages": []}
    run["tasks"] = [*TINY_RUN["tasks"][:1], {**TINY_RUN["tasks"][1], "fidelity": False}]
    Path("run.yaml").write_text(yaml.safe_dump(run, sort_keys=False))
    grid = read_run("run.yaml")
    for result in grid.results:
        weight = result.model.weight or 0.0
        records = []
        for entry in grid.results.tasks_of(result):
            metric, task = entry["metric"], entry["task"]
            chance = 0.9 - 0.4 * weight / 2 if entry["measure"] == "ifeval" else 0.75 - 0.3 * (weight - 1) ** 2
            for seed in entry.get("seeds", [None]):
                record = {key: entry[key] for key in ("language", "measure", "task", "metric")}
                record |= {"seed": seed, "key": "abc", "fingerprint": "f00d", "value": 50.0, "stderr": None, "n": COUNT}
                records.append(record)
                luck = np.random.default_rng([COUNT, seed or 0]).random(COUNT)
                own = np.random.default_rng([COUNT, seed or 0, 1 + int(4 * weight)]).random(COUNT)
                lines = []
                for index in range(COUNT):
                    right = bool((luck[index] if own[index] < 0.7 else own[index] % 0.1 * 10) < chance)
                    name = f"{index:03d}"
                    sample = {"filter": "none", "doc_hash": name, metric: [right] if metric != "acc" else float(right)}
                    lines.append(json.dumps({**sample, "task": task, "part": part(task, name)}) + "\n")
                write_bytes(result.samples / answers_file(record), gzip.compress("".join(lines).encode()))
        write_sealed(result.path, {"cell": result.model.columns(), "scores": records})
    return grid


def found(grid: Grid, constraint: str = "") -> list:
    answered = replay.answered(grid, False, 1)
    compared = comparisons([unit for one in answered for unit in units(one)], 1)
    return families(compared, Settings(("benchmark",), constraint, 0.9, 0.5))


def test_the_command_writes_tables_and_a_figure(grid):
    call(replay, "run.yaml", "--measures", "benchmark", "--draws", "20", "--budget", "0.6")
    folder = Path("results/tiny/replay")
    assert {path.name for path in folder.iterdir()} == {
        "families.csv",
        "cells.csv",
        "replay.md",
        *(f"replay.{ending}" for ending in ("pdf", "png", "svg")),
    }
    [family] = pd.read_csv(folder / "families.csv").to_dict("records")
    assert (family["method"], family["target"], family["cells"], family["w_grid"]) == ("linear", "eu", 4, 1)
    assert 0 < family["asked"] <= 0.6 and 0 <= family["regret"] < 5 and 0.8 <= family["covered"] <= 1
    cells = pd.read_csv(folder / "cells.csv")
    assert list(cells["w"]) == WEIGHTS and set(cells["asked"]) <= {*cells["asked"]} and cells["asked"].max() == 1
    assert list(cells["state"]).count("found") == 1
    winner = cells[cells["state"] == "found"]["w"].item()
    assert winner == family["w_search"]
    text = (folder / "replay.md").read_text()
    assert "Over 20 draws of documents: mean regret" in text
    assert re.search(r"\| mini +\| linear +\| EU +\| 1 +\|", text)


def test_the_same_call_writes_the_same_with_any_number_of_processes(grid):
    for threads in ("1", "2"):
        call(
            replay,
            "run.yaml",
            "--measures",
            "benchmark",
            "--draws",
            "60",
            "--budget",
            "0.6",
            "--threads",
            threads,
            "--output",
            threads,
        )
    for name in ("families.csv", "cells.csv", "replay.md", "replay.svg"):
        assert Path("1", name).read_bytes() == Path("2", name).read_bytes()


def test_the_truth_is_that_of_all_kept_answers(grid):
    [family] = found(grid)
    assert family.pool == [(weight,) for weight in map(float, WEIGHTS)]
    answers = family.cells[1.0,]["mini_grammar_eu/mini_grammar_eu"]
    assert family.score((1.0,)) == pytest.approx(100 * answers[:, 0, 0].mean())
    halves = kept_halves(family)
    assert sorted(
        [*halves.dev["mini_grammar_eu/mini_grammar_eu"], *halves.test["mini_grammar_eu/mini_grammar_eu"]]
    ) == [*range(COUNT)]
    result = measured(family, halves, 0.6)
    assert result["regret"] == pytest.approx(family.score((1.0,)) - family.score(result["winner"]))


def test_draws_are_samples_of_all_documents_and_the_same_each_time(grid):
    [family] = found(grid)
    first, again, other = drawn_halves(family, 1), drawn_halves(family, 1), drawn_halves(family, 2)
    for task, own in first.dev.items():
        np.testing.assert_array_equal(own, again.dev[task])
        assert not np.array_equal(own, other.dev[task])
        assert len(own) == len(kept_halves(family).dev[task])


def test_a_constraint_keeps_instruction_following(grid):
    """90% of the instruct model's is kept up to w = 0.5."""
    [family] = found(grid, "ifeval")
    allowed = [candidate for candidate in family.pool if family.feasible(candidate)]
    assert (2.0,) not in allowed and (0.25,) in allowed
    call(replay, "run.yaml", "--measures", "benchmark", "--keep", "ifeval", "--draws", "5", "--budget", "0.7")
    [row] = pd.read_csv("results/tiny/replay/families.csv").to_dict("records")
    assert row["w_grid"] == max(allowed, key=family.score)[0]
    assert "Cells must keep 90% of the instruct model's IFEval." in Path("results/tiny/replay/replay.md").read_text()


def test_a_run_without_a_choice_of_weights_is_refused(grid):
    with pytest.raises(UserError, match="no method has three weights or more whose answers to mt are kept"):
        call(replay, "run.yaml", "--measures", "mt", "--draws", "5")
    with pytest.raises(UserError, match="--draws 0"):
        call(replay, "run.yaml", "--draws", "0")
