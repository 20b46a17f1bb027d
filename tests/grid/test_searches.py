"""`search` in a run: which cells there are to choose among, and what a search makes part of the
run.
"""

from __future__ import annotations

import copy

import pytest

from langmerge.commands.plan import page, summary
from langmerge.errors import UserError
from langmerge.evaluation.sealed import write_sealed
from langmerge.grid import arguments
from langmerge.grid.grid import Grid
from langmerge.overview.plan import Plan
from support.project import TINY_RUN

SEARCH = {"methods": ["linear"], "weights": {"from": 0.5, "to": 2, "number": 4}, "measures": ["benchmark"]}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def grid(search: dict | None = None, **changes: object) -> Grid:
    run = {**copy.deepcopy(TINY_RUN), "backbones": ["mini"], "search": {**SEARCH, **(search or {})}, **changes}
    return Grid({key: value for key, value in run.items() if value is not None})


def test_one_search_for_each_backbone_method_and_language():
    found = grid({"methods": ["linear", "task_arithmetic"]}, languages=["eu", "gl"])
    assert [pool.name for pool in found.searches] == [
        f"mini/{method}/{code}" for method in ("linear", "task_arithmetic") for code in ("eu", "gl")
    ]
    assert [model.id for model in next(iter(found.searches)).cells] == [
        f"mini/linear/eu/w{w}" for w in ("0.5", "1", "1.5", "2")
    ]
    # Cells that only a search has are no cells of the run.
    assert "mini/linear/eu/w1" in found.models and "mini/linear/eu/w2" not in found.models


def test_a_run_may_do_nothing_but_search():
    found = grid(experiments=None)
    assert not found.expansion.merges
    assert len([*found.searches]) == 1
    assert "searches" in found.reports and "anatomy" in found.reports


def test_what_a_search_finds_becomes_part_of_the_run():
    before = grid()
    [pool] = before.searches
    [batch] = [batch for batch in before.batches if batch.pools]
    assert [*batch.models] == [*pool.cells]
    write_sealed(pool.record, {"found": ["mini/linear/eu/w2"]})
    after = grid()
    assert "mini/linear/eu/w2" in after.models and "mini/linear/eu/w1.5" not in after.models
    assert not [batch for batch in after.batches if batch.pools]
    # Its results are missing now, as those of any cell would be; scores.csv is not made again for
    # its name.
    assert "mini/linear/eu/w2" in {result.model.id for batch in after.batches for result in batch.results}
    assert after.results.names == before.results.names


VARIED = {
    "linear": {"merge_method": "linear"},
    "ties": {
        "label": "TIES",
        "merge_method": "ties",
        "instruct_weight": "u",
        "language_weight": [{"filter": "mlp", "value": ["w", "v"]}, {"value": "w"}],
        "parameters": {"density": "d"},
        "variables": {"d": 0.5, "u": 1, "v": 0.25},
    },
}


def varied(variables: dict, **changes: object) -> Grid:
    return grid({"methods": ["ties"], "weights": [0.5, 1, 2], "variables": variables}, methods=VARIED, **changes)


def test_variables_of_a_method_are_searched_too():
    """A density, the weight of a model, and a weight by module."""
    found = varied({"d": [0.2, 0.5], "u": {"from": 0.8, "to": 1, "number": 2}, "v": [0, 0.25]})
    [pool] = found.searches
    assert pool.name == "mini/ties/eu" and "searches/mini/ties/eu." in str(pool.record)
    assert [model.id for model in pool.cells] == [
        f"mini/ties{density}{method}/eu/w{w}"
        for density in ("-d0.2", "")
        for method in ("-u0.8-v0", "-u0.8", "-v0", "")
        for w in ("0.5", "1", "2")
    ]
    cell = next(model for model in pool.cells if model.id == "mini/ties-d0.2-u0.8-v0/eu/w2")
    recipe = found.recipes.merge(cell)
    instruct, language = (entry["parameters"] for entry in recipe["models"])
    assert (instruct["weight"], instruct["density"]) == (0.8, 0.2)
    assert language == {"weight": [{"filter": "mlp", "value": [2, 0]}, {"value": 2}], "density": 0.2}
    assert found.searches.candidate(cell) == [2, 0.2, 0.8, 0]
    # With the values that the run gives, it is the run's own method.
    assert found.searches.candidate(pool.cells[-1]) == [2, 0.5, 1, 0.25]
    assert len({found.identity.model_key(model) for model in pool.cells}) == len(pool.cells)


def test_tables_may_name_a_method_that_a_search_made():
    tables = {"best": {"layout": "best", "methods": ["ties", "ties-d0.2"]}}
    found = varied({"d": [0.2, 0.5]}, tables=tables)
    assert found.reports["best"].spec["labels"]["methods"]["ties-d0.2"] == "TIES, d = 0.2"
    [pool] = found.searches
    write_sealed(pool.record, {"found": ["mini/ties-d0.2/eu/w2"]})
    after = varied({"d": [0.2, 0.5]}, tables=tables)
    assert "mini/ties-d0.2/eu/w2" in after.models
    # What is found is drawn in the same run, and is no reason to draw again.
    assert after.reports["best"].spec == found.reports["best"].spec


@pytest.mark.parametrize(
    ("search", "method", "message"),
    [
        ({"variables": {"e": [0, 1]}}, {}, r"search\.variables\.e: no method of the search has this variable"),
        ({"variables": {"d": [0.1]}}, {}, r"search\.variables\.d: .*at least two numbers"),
        ({"variables": {"d": {"from": 1, "to": 0, "number": 3}}}, {}, r"search\.variables\.d: from 1 to 0 is no range"),
        ({"variables": {"d": [0.1, 0.10000001]}}, {}, r"search\.variables\.d: .*differ only after six digits"),
        ({"variables": {"d": [0.5, 1.5]}}, {}, r"methods\.ties, used by mini/ties-d1\.5/eu/w0\.5: .*density"),
        ({}, {"instruct_weight": "v2"}, r"methods\.ties\.instruct_weight: found 'v2'"),
        (
            {},
            {"instruct_weight": "b"},
            r"methods\.ties\.instruct_weight: 'b' is neither a number nor a formula.*Known: w, 1-nw, d, u, v",
        ),
        ({}, {"instruct_weight": 1}, r"methods\.ties\.variables\.u: no value of this method is u"),
        ({}, {"variables": {"w": 1}}, r"methods\.ties\.variables\.w: this name cannot be used.*w is the weight"),
    ],
)
def test_variables_that_mean_nothing_are_refused(search, method, message):
    methods = VARIED | {"ties": VARIED["ties"] | method}
    with pytest.raises(UserError, match=message):
        grid({"methods": ["ties"], **search}, methods=methods)


def test_a_name_that_a_search_makes_is_taken():
    with pytest.raises(UserError, match=r"methods\.ties-d0\.2: the search makes a method of this name"):
        grid(
            {"methods": ["ties"], "variables": {"d": [0.2, 0.5]}},
            methods=VARIED | {"ties-d0.2": {"merge_method": "linear"}},
        )


@pytest.mark.parametrize(
    "change",
    [
        {"budget": 0.5},
        {"keep": {"ifeval": 0.9}},
        {"weights": [0.5, 1, 2]},
        {"measures": ["benchmark", "ifeval"]},
        {"languages": ["en"]},
    ],
)
def test_another_search_has_another_record(change):
    [first], [other] = grid().searches, grid(change).searches
    assert first.record != other.record


def test_a_damaged_record_is_named():
    [pool] = grid().searches
    write_sealed(pool.record, {"found": []})
    pool.record.write_text(pool.record.read_text().replace("found", "lost"))
    with pytest.raises(UserError, match=r"eu\.\w+\.json: .*Delete the file"):
        grid()


def test_a_search_waits_for_what_it_compares_with():
    found = grid()
    [batch] = [batch for batch in found.batches if batch.pools]
    done = {other.models[0].id: other for other in found.batches if not other.pools}
    names = {found.layout.batch_done(other.backbone, other.name) for other in found.batches if other.in_memory} - {
        found.layout.batch_done(batch.backbone, batch.name)
    }
    instruct = found.layout.batch_done("mini", done["mini/instruct/none/w0"].name)
    assert {path for path in found.batches.reads(batch) if path.suffix == ".done"} == {*names, instruct}


def test_what_a_job_is_told():
    found = grid({"keep": {"ifeval": 0.9}, "evaluate": "target"})
    [batch] = [batch for batch in found.batches if batch.pools]
    content = arguments.batch(found, batch)
    [search] = content.searches
    assert search.cells == {model.id: [model.columns["weight"]] for model in content.models}
    assert (search.measures, search.languages, search.keep, search.budget) == (
        ["benchmark"],
        ["eu"],
        {"ifeval": 0.9},
        0.35,
    )
    assert search.instruct.making is None and search.instruct.key
    assert all(model.making and len(model.results) == 1 for model in content.models)


def test_plan_says_what_a_search_costs():
    text = page(summary(Plan(grid({"budget": 0.5})), 1))
    assert "mini: 1 search among 4 cells; at most 50% of their documents are asked, as many as 2.0 whole cells" in text


@pytest.mark.parametrize(
    ("search", "changes", "message"),
    [
        ({}, {"merges": "disk"}, r"search.*the cells of mini are not merged in memory.*Leave `merges` out"),
        ({"methods": ["linaer"]}, {}, r"search.methods.*unknown method 'linaer'.*linear"),
        ({"measures": ["mt"]}, {}, r"mt in eu needs a task that merges and the instruct model are both asked"),
        ({"languages": ["gl"]}, {}, r"search.languages: gl is no language of the run. Known: eu, en"),
        ({"weights": {"from": 2, "to": 1, "number": 3}}, {}, r"from 2 to 1 is no range"),
        ({}, {"methods": {"linear": {"merge_method": "linear", "tokenizer": "union"}}}, r"linear has `tokenizer`"),
        ({"weights": [0.5, 1]}, {}, r"search.weights"),
        ({"weights": [0.5, -1, 1]}, {}, r"search.weights.*negative"),
        ({"keep": {"ifeval": 0.9, "benchmark": 1}}, {}, r"search.keep"),
    ],
)
def test_what_cannot_be_searched_is_refused(search, changes, message):
    with pytest.raises(UserError, match=message):
        grid(search, **changes)
