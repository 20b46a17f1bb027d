"""langmerge/semantics.py: raising a stage's number renames what that stage determines, and nothing
else.
"""

from __future__ import annotations

import pytest

from langmerge.evaluation.safety import Verdicts
from langmerge.grid.corpora import read_corpus
from langmerge.grid.folders import Folders
from langmerge.grid.grid import Grid
from langmerge.reporting.derived import KINDS, fingerprint
from langmerge.semantics import SEMANTICS

RUN = {
    "run": "two-kinds",
    "languages": ["eu"],
    "evaluation_languages": ["gl", "en"],
    "backbones": ["mini", "llama-3.2-1b"],
    "weights": [1],
    "methods": {"linear": {"merge_method": "linear"}},
    "experiments": {"one": {"methods": ["linear"]}},
    "search": {"methods": ["linear"], "weights": [0.25, 0.5, 1], "measures": ["benchmark"], "evaluate": "target"},
    "tasks": [
        {"task": "mini_grammar_{language}", "measure": "benchmark", "metric": "acc", "languages": ["eu"]},
        {"task": "belebele_glg_Latn", "measure": "benchmark", "metric": "acc", "languages": ["gl"]},
        {"task": "safety_harmful_{language}", "measure": "safety", "metric": "refused", "languages": ["en"]},
    ],
    "judge": {"kind": "phrases"},
}
"""One trained backbone and one of a hub; a task of generated data in eu, a real one in gl, a judged
one in en.
"""


def names() -> dict[str, str]:
    """Every name that depends on what code means, by what it is the name of."""
    grid = Grid(RUN)
    found = {f"data {code}": grid.data.key(code) for code in ("eu", "gl", "en")}
    found |= {f"model {id}": grid.identity.model_key(model) for id, model in grid.models.items()}
    for result in grid.results:
        found[f"result {result.model.id} {result.shard}"] = result.path.name
        for unit, part in zip(grid.tasks.units(result.model, result.shard), grid.results.parts(result), strict=True):
            found[f"part {result.model.id} {unit.name()}"] = part.name
            found[f"fingerprint {result.model.backbone} {unit.name()}"] = unit.fingerprint(
                grid.tasks.backend(result.model)
            )
    found |= {f"search {pool.name}": pool.record.name for pool in grid.searches}
    judge = Verdicts(RUN["judge"], "en", None)
    found["clean"] = read_corpus("fineweb-en", Folders()).clean_key
    found |= {f"derived {measure}": fingerprint(measure, "f00d", ["eu"]) for measure in KINDS}
    return found | {"verdict": judge.key("a prompt", "an answer")}


def kinds(keys: set[str]) -> set[str]:
    return {key.split(" ")[0] for key in keys}


TRAINED = "mini/"
MERGES = "/linear/"


def expected(stage: str, key: str) -> bool:
    """Whether a name should change with a stage's number."""
    kind, _, rest = key.partition(" ")
    in_basque = rest.endswith((" eu", " mini_grammar_eu")) or kind == "search"
    judged = rest.endswith((" en", " safety_harmful_en"))
    of_model = kind in ("model", "result", "part", "search")
    match stage:
        case "text":
            return kind == "clean"
        case "corpus":
            trained = of_model and rest.startswith(TRAINED)
            return kind == "data" or trained or (kind in ("result", "part", "fingerprint", "search") and in_basque)
        case "train":
            return of_model and rest.startswith(TRAINED)
        case "merge":
            return of_model and MERGES in rest
        case "evaluate":
            return kind in ("result", "part", "fingerprint", "search")
        case "search":
            return kind == "search"
        case "derive":
            return kind == "derived"
        case "judge":
            return kind == "verdict" or (kind in ("result", "part", "fingerprint") and judged)
    raise AssertionError(stage)


@pytest.mark.parametrize("stage", SEMANTICS)
def test_raising_a_number_changes_the_names_that_depend_on_it_and_no_others(stage, monkeypatch):
    before = names()
    monkeypatch.setitem(SEMANTICS, stage, SEMANTICS[stage] + 1)
    after = names()
    assert before.keys() == after.keys()
    changed = {key for key in before if before[key] != after[key]}
    wanted = {key for key in before if expected(stage, key)}
    assert changed == wanted
    assert 0 < len(changed) < len(before)


def test_the_names_that_are_compared_are_of_every_kind():
    assert kinds({*names()}) == {
        "data",
        "model",
        "result",
        "part",
        "fingerprint",
        "verdict",
        "derived",
        "clean",
        "search",
    }
