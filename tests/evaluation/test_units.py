"""What the names of parts and verdicts depend on, and that nothing else does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from langmerge.evaluation import units as units_module
from langmerge.evaluation.safety import Verdicts
from langmerge.evaluation.units import HARDWARE, Unit, units
from langmerge.semantics import SEMANTICS

ENTRY = {"task": "mini_grammar_eu", "language": "eu", "measure": "benchmark", "metric": "acc"}
JUDGED = {**ENTRY, "task": "safety_harmful_eu", "judge": {"kind": "phrases"}}
BACKEND = {"backend": "hf", "dtype": "float32", "batch_size": 8}


def names() -> dict[str, str]:
    """Every name that a number of SEMANTICS is part of in this package."""
    return {
        **{f"{unit.name()} key": unit.key("model", True, BACKEND) for unit in units([ENTRY, JUDGED], lambda entry: [])},
        **{
            f"{unit.name()} fingerprint": unit.fingerprint(BACKEND) for unit in units([ENTRY, JUDGED], lambda entry: [])
        },
        "verdict": Verdicts({"kind": "phrases"}, "eu", None).key("a prompt", "an answer"),
    }


@pytest.mark.parametrize("stage", SEMANTICS)
def test_raising_a_number_renames_what_it_means_and_nothing_else(monkeypatch, stage):
    before = names()
    monkeypatch.setitem(SEMANTICS, stage, SEMANTICS[stage] + 1)
    after = names()
    safety = {"safety_harmful_eu key", "safety_harmful_eu fingerprint"}
    expected = {
        "evaluate": {"mini_grammar_eu key", "mini_grammar_eu fingerprint", *safety},
        "judge": {"verdict", *safety},
    }
    assert {name for name in before if before[name] != after[name]} == expected.get(stage, set())


def test_a_fingerprint_is_the_same_for_all_models():
    unit = Unit(ENTRY, 21, [])
    assert len({unit.key(model, chat, BACKEND) for model in ("a", "b") for chat in (True, False)}) == 4
    assert unit.fingerprint(BACKEND) == Unit(dict(reversed(ENTRY.items())), 21, []).fingerprint(BACKEND)


@pytest.mark.parametrize(
    ("unit", "backend"),
    [
        (Unit({**ENTRY, "fewshot": 1}, 21, []), BACKEND),
        (Unit({**ENTRY, "content": "another file"}, 21, []), BACKEND),
        (Unit(ENTRY, 22, []), BACKEND),
        (Unit(ENTRY, None, []), BACKEND),
        (Unit(ENTRY, 21, ["organisation--name@main"]), BACKEND),
        (Unit(ENTRY, 21, []), {**BACKEND, "dtype": "bfloat16"}),
        (Unit({**ENTRY, "generation": {"top_k": 50}}, 21, []), BACKEND),
        (Unit({**ENTRY, "template": {"date_string": "1 Jan 2020"}}, 21, []), BACKEND),
    ],
)
def test_what_else_determines_a_number_is_in_key_and_fingerprint(unit, backend):
    assert unit.fingerprint(backend) != Unit(ENTRY, 21, []).fingerprint(BACKEND)
    assert unit.key("model", True, backend) != Unit(ENTRY, 21, []).key("model", True, BACKEND)


@pytest.mark.parametrize("setting", sorted(HARDWARE))
def test_how_fast_a_backend_answers_does_not_matter(setting):
    unit = Unit(ENTRY, None, [])
    assert unit.file("model", True, {**BACKEND, setting: 2}) == unit.file("model", True, BACKEND)


@pytest.mark.parametrize(
    ("name", "value"), [("DATE", "1 Jan 2020"), ("SAMPLING", {**units_module.SAMPLING, "top_k": 50})]
)
def test_defaults_that_determine_a_number_are_in_its_fingerprint(monkeypatch, name, value):
    before = Unit(ENTRY, None, []).fingerprint(BACKEND)
    monkeypatch.setattr(units_module, name, value)
    assert Unit(ENTRY, None, []).fingerprint(BACKEND) != before


@pytest.fixture
def forgetful():
    """vLLM's version is looked up again, now and after the test."""
    units_module.vllm_version.cache_clear()
    yield
    units_module.vllm_version.cache_clear()


def test_results_of_two_versions_of_vllm_do_not_mix(monkeypatch, forgetful):
    def fingerprints(version: str) -> list[str]:
        monkeypatch.setattr(units_module, "version", lambda name: version)
        units_module.vllm_version.cache_clear()
        return [Unit(ENTRY, None, []).fingerprint({**BACKEND, "backend": name}) for name in ("hf", "vllm")]

    one, same, other = map(fingerprints, ("0.32.0", "0.32.0+cpu", "0.33.0"))
    assert one == same
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_a_run_that_is_planned_without_vllm_takes_its_version_from_the_lock(monkeypatch, tmp_path, forgetful):
    def absent(name: str) -> str:
        raise units_module.PackageNotFoundError

    monkeypatch.setattr(units_module, "version", absent)
    locked = units_module.versions({"backend": "vllm"})["vllm"]
    assert f"\nvllm=={locked}\n" in units_module.LOCK.read_text()
    monkeypatch.setattr(units_module, "LOCK", tmp_path / "nothing")
    assert units_module.versions({"backend": "vllm"}) == {"vllm": "unknown"}


def test_a_unit_per_seed_named_by_it():
    found = list(units([{**ENTRY, "seeds": [21, 22]}, JUDGED], lambda entry: [entry["task"]]))
    assert [unit.name() for unit in found] == ["mini_grammar_eu.seed21", "mini_grammar_eu.seed22", "safety_harmful_eu"]
    assert found[0].entry == ENTRY
    assert found[0].sources == ["mini_grammar_eu"]
    assert (
        found[0].file("model", True, BACKEND) == f"mini_grammar_eu.seed21.{found[0].key('model', True, BACKEND)}.json"
    )


def imported(modules: str) -> str:
    """The environment and the heavy libraries of a process that has imported these modules."""
    code = (
        f"import os, sys; from langmerge.evaluation import {modules}\n"
        "print([name for name in ('HF_HUB_OFFLINE', 'HF_DATASETS_OFFLINE', 'DISABLE_MULTIPROC') if name in os.environ])\n"
        "print([name for name in ('torch', 'lm_eval', 'datasets', 'transformers', 'pandas') if name in sys.modules])"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_sets_no_environment_variable():
    variables, libraries = imported("harness, lookup, scores, backends, safety").splitlines()
    assert variables == "[]"
    assert "lm_eval" in libraries


def test_what_a_dry_run_imports_is_light():
    assert imported("units, sealed, taskfiles, modelfiles").splitlines() == ["[]", "[]"]
