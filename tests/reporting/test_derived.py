"""Language fidelity and chrF++: from kept answers, without a model."""

from __future__ import annotations

import copy
import gzip
import json
import os
from pathlib import Path

import pytest
import sacrebleu

from langmerge.errors import UserError
from langmerge.grid.grid import Grid
from langmerge.measures import MEASURES, TASKED, VOTES
from langmerge.reporting import derived
from langmerge.reporting.derived import KINDS, fingerprint, with_derived
from langmerge.reporting.inputs import Answered
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.scores import collect
from langmerge.reporting.sources import Sources
from langmerge.reporting.summary import deviations
from langmerge.semantics import SEMANTICS
from support.project import TINY_RUN

RUN = ("en", "es", "eu", "gl")
BASQUE = "Pertsona guztiak aske jaiotzen dira, duintasun eta eskubide berberak dituztela."
SPANISH = "Todos los seres humanos nacen libres e iguales en dignidad y derechos."


class Run:
    """Sealed results and their answers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, {}

    def add(self, answers: list[str], task: str = "flores_en-eu", measure: str = "mt", weight: float = 1, **changes):
        """Keep a merge's answers to the documents d0, d1, ...; every other one is of the dev half.

        Changes: seed, language, docs (of the samples), members (of a group), weight None (the
        instruct model).
        """
        name = f"w{weight}"
        method = {"method": "linear", "target": "eu"} if weight else {"method": "instruct", "target": ""}
        metric = "bleu" if measure == "mt" else "inst_level_strict_acc"
        record = {"task": task, "measure": measure, "metric": metric, "language": changes.get("language", "eu")}
        record |= {
            "seed": changes.get("seed"),
            "key": "abc",
            "fingerprint": "f00d",
            "value": 1.0,
            "stderr": 1.0,
            "n": 2,
        }
        cell = {"backbone": "mini", **method, "weight": weight}
        self.results.setdefault(name, {"cell": cell, "scores": []})["scores"].append(record)
        seed = "" if record["seed"] is None else f".seed{record['seed']}"
        path = self.folder / name / f"{task}{seed}.abc.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        with gzip.open(path, "wt") as file:
            for index, answer in enumerate(answers):
                sample = {"doc_id": index, "doc": changes.get("docs", [{}] * 99)[index], "filtered_resps": [answer]}
                sample |= {
                    "filter": "none",
                    "doc_hash": f"d{index}",
                    metric: [BASQUE, answer] if measure == "mt" else [True],
                }
                task_of = changes.get("members", [task] * 99)[index]
                file.write(json.dumps(sample | {"task": task_of, "part": ("dev", "test")[index % 2]}) + "\n")
        return path

    def answered(self, languages=RUN, other=(), threads: int = 1) -> list[Answered]:
        given = [Answered(self.folder / f"{name}.json", one, self.folder / name) for name, one in self.results.items()]
        return with_derived(given, languages, other, threads)

    def scores(self, measure: str = "fidelity", **changes) -> list[dict]:
        """The derived scores of all results."""
        everything = [score for one in self.answered(**changes) for score in one.result["scores"]]
        return [score for score in everything if score["measure"] == measure]


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path)


def test_every_measure_that_is_derived_has_a_rule_and_is_no_task_of_a_run():
    assert {name for name, measure in MEASURES.items() if measure.answers_of} == {*MEASURES} - {*TASKED}
    assert {*KINDS} == {*MEASURES} - {*TASKED, VOTES}
    task = {"task": "mini_grammar_{language}", "measure": "fidelity", "metric": "acc"}
    with pytest.raises(UserError, match=r"found 'fidelity', expected one of benchmark, mt, ifeval, safety\."):
        Grid(copy.deepcopy(TINY_RUN) | {"tasks": [task]})


# ---- fidelity


def test_fidelity_is_the_share_of_answers_in_the_language_that_was_asked_for(run):
    run.add([BASQUE, SPANISH, BASQUE, "", f"{BASQUE} {BASQUE}", "42."])
    [score] = run.scores()
    assert (score["language"], score["task"], score["seed"]) == ("eu", "flores_en-eu", None)
    assert (score["value"], score["n"]) == (50, 6), "an empty answer and one without letters are in no language"
    assert score["stderr"] == pytest.approx(100 * (0.25 / 5) ** 0.5)
    assert score["parts"]["dev"]["value"] == 100 and score["parts"]["dev"]["n"] == 3
    assert score["parts"]["test"]["value"] == 0


def test_its_interval_is_that_of_a_share(run):
    run.add([BASQUE] * 7 + [SPANISH] * 3)
    table = collect((one.path, one.result) for one in run.answered())
    row = table[(table["measure"] == "fidelity") & (table["part"] == "all")]
    sides = deviations(row)
    assert sides["below"][0] != pytest.approx(sides["above"][0]), "Jeffreys' interval is not symmetric"


def test_other_measures_and_tasks_in_another_language_have_none(run):
    run.add([BASQUE], task="ifeval_eu", measure="ifeval", seed=21)
    run.add([BASQUE], task="mini_ifeval_eu", measure="ifeval", seed=21)
    run.add([BASQUE], task="safety_eu", measure="safety")
    assert [score["task"] for score in run.scores(other={"mini_ifeval_eu"})] == ["ifeval_eu"]
    assert [score["task"] for score in run.scores("chrf")] == []


def test_prompts_that_ask_for_another_language_do_not_count(run):
    docs = [
        {"response_language": "kn"},
        {"response_language": ""},
        {"instruction_id_list": ["es:language:response_language"]},
    ]
    run.add([SPANISH, BASQUE, SPANISH], task="ifeval_eu", measure="ifeval", docs=docs)
    [score] = run.scores()
    assert (score["value"], score["n"]) == (100, 1)
    run.add([SPANISH], task="ifeval_es", measure="ifeval", docs=docs, language="es")
    assert len(run.scores()) == 1, "no document counts, so there is no score"


def test_thinking_is_no_part_of_the_answer(run):
    run.add([f"<think>{SPANISH}\n{SPANISH}</think>{BASQUE}", f"<think>{BASQUE}"])
    assert run.scores()[0]["value"] == 50, "an answer that never began is empty"


def test_a_language_that_the_classifier_does_not_know_has_no_fidelity(run):
    run.add([BASQUE], language="xx-none")
    assert run.scores(languages=(*RUN, "xx-none")) == []
    assert len(run.scores("chrf", languages=(*RUN, "xx-none"))) == 1


# ---- chrF++


def test_chrf_is_sacrebleus(run):
    answers = [BASQUE, SPANISH, "Pertsona guztiak aske jaiotzen dira", ""]
    run.add(answers)
    [score] = run.scores("chrf")
    expected = sacrebleu.corpus_chrf(answers, [[BASQUE] * 4], word_order=2).score
    assert score["value"] == pytest.approx(expected) and score["n"] == 4
    assert 0 < score["stderr"] < 50
    half = sacrebleu.corpus_chrf(answers[::2], [[BASQUE] * 2], word_order=2).score
    assert score["parts"]["dev"]["value"] == pytest.approx(half)


def test_a_group_is_the_mean_over_its_tasks(run):
    answers, members = [BASQUE, SPANISH, SPANISH], ["a", "b", "b"]
    run.add(answers, members=members)
    assert run.scores()[0]["value"] == 50
    [score] = run.scores("chrf")
    each = [sacrebleu.corpus_chrf(own, [[BASQUE] * len(own)], word_order=2).score for own in ([BASQUE], [SPANISH] * 2)]
    assert score["value"] == pytest.approx(sum(each) / 2)
    assert score["stderr"] is None, "one of the tasks has one document"


# ---- fingerprints and files


def test_a_fingerprint_depends_on_what_determines_the_score(monkeypatch):
    before = {measure: fingerprint(measure, "f00d", RUN) for measure in ("fidelity", "chrf")}
    assert before["fidelity"] != before["chrf"]
    assert fingerprint("fidelity", "f00d", reversed(RUN)) == before["fidelity"]
    assert fingerprint("fidelity", "f00d", ("eu",)) != before["fidelity"]
    assert fingerprint("chrf", "f00d", ("eu",)) == before["chrf"], "chrF++ asks for no language"
    assert all(fingerprint(measure, "5eed", RUN) != own for measure, own in before.items())
    monkeypatch.setitem(SEMANTICS, "derive", SEMANTICS["derive"] + 1)
    assert all(fingerprint(measure, "f00d", RUN) != own for measure, own in before.items())
    monkeypatch.undo()
    assert all(fingerprint(measure, "f00d", RUN) == own for measure, own in before.items())
    monkeypatch.setattr(derived, "version", lambda package: f"{package} of tomorrow")
    assert all(fingerprint(measure, "f00d", RUN) != own for measure, own in before.items())


def test_verdicts_are_kept_and_not_made_again(run, monkeypatch):
    path = run.add([BASQUE, SPANISH])
    first = run.scores()
    assert len([*path.parent.glob("flores_en-eu.abc.*-*.jsonl.gz")]) == 2
    monkeypatch.setattr(derived, "read_and_judge", None)
    assert run.scores() == first
    path.unlink()
    assert run.scores() == first, "the answers may be deleted"


def test_verdicts_are_made_again_for_newer_answers_and_where_they_are_damaged(run):
    path = run.add([BASQUE, SPANISH])
    [before] = run.scores()
    [kept] = path.parent.glob("*.fidelity-*")
    for content in (b"", kept.read_bytes()[:-10], b"no archive"):
        kept.write_bytes(content)
        assert run.scores() == [before]
    run.results.clear()
    run.add([BASQUE, BASQUE])
    os.utime(kept, (1, 1))
    assert run.scores()[0]["value"] == 100


def test_without_answers_there_is_no_score(run):
    run.add([BASQUE]).unlink()
    assert run.scores() == []


def test_what_does_not_hold_answers_is_refused(run):
    path = run.add([BASQUE])
    for content in (b"no archive", gzip.compress(b'{"filter": "none"}\n')):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"flores_en-eu\.abc\.jsonl\.gz does not hold answers"):
            run.scores()
    with pytest.raises(UserError, match=r"x\.json is not a result of `langmerge evaluate`"):
        with_derived([Answered(Path("x.json"), {"scores": [{}]}, Path())], RUN, ())


def test_several_processes_give_the_same(run):
    run.add([BASQUE, SPANISH])
    run.add([BASQUE, BASQUE], weight=2)
    parallel = run.scores(threads=2)
    assert parallel == run.scores() and [score["value"] for score in parallel] == [50, 100]


# ---- in scores.csv and in the report `paired`


def test_scores_csv_has_them_beside_the_scores_that_they_are_derived_from(run):
    run.add([BASQUE, SPANISH])
    run.add([BASQUE, SPANISH], task="ifeval_eu", measure="ifeval", seed=21)
    table = collect((one.path, one.result) for one in run.answered())
    found = table[table["part"] == "all"][["task", "measure", "seed"]]
    assert {tuple(map(str, line)) for line in found.itertuples(index=False)} == {
        ("flores_en-eu", "mt", "<NA>"),
        ("flores_en-eu", "chrf", "<NA>"),
        ("flores_en-eu", "fidelity", "<NA>"),
        ("ifeval_eu", "ifeval", "21"),
        ("ifeval_eu", "fidelity", "21"),
    }
    assert table["fingerprint"].nunique() == 3, "both tasks have the same here"


def test_merges_are_compared_with_their_instruct_model_by_them(run):
    run.add([BASQUE] * 10 + [SPANISH] * 30, weight=0)
    run.results["w0"]["cell"]["weight"] = None
    run.add([BASQUE] * 40)
    spec = {"languages": ["eu"], "backbones": ["mini"]}
    files = LAYOUTS["paired"].make(Sources(answers=run.answered()), spec, "paired")
    lines = [line.split(",") for line in files["csv"].splitlines()]
    columns = {name: lines[0].index(name) for name in ("measure", "difference", "p_holm")}
    found = {line[columns["measure"]]: line for line in lines[1:]}
    assert float(found["fidelity"][columns["difference"]]) == 75
    assert float(found["fidelity"][columns["p_holm"]]) < 0.001
    assert float(found["chrf"][columns["difference"]]) > 50
    assert "| chrF++" in files["md"] and "| Fidelity" in files["md"]
