"""Groups: a unit per member, and one score that is the number of the group evaluated as a whole."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from lm_eval.api.metrics import mean as lm_eval_mean

from langmerge.errors import UserError
from langmerge.evaluation.groups import expanded, gathered, group_files
from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.lookup import Lookup
from langmerge.evaluation.scores import marked, scored
from langmerge.evaluation.sealed import read_sealed
from langmerge.evaluation.taskfiles import SHIPPED, content_key, forget_files
from langmerge.evaluation.units import units

EXAMS = {"task": "eus_exams_eu", "language": "eu", "measure": "benchmark", "metric": "acc", "fewshot": 5}
GROUP = {"group": "pair", "task": ["one", "two"], "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}]}


class Quiz:
    """As much of an lm-eval task as scoring asks for."""

    def aggregation(self) -> dict:
        return {"acc": lm_eval_mean}


def sample(name: str, number: int) -> dict:
    return {"doc_hash": f"{name} {number}", "filter": "none", "acc": float(hash_of(name, number))}


def hash_of(name: str, number: int) -> int:
    return sum(f"{name} {number}".encode()) % 3 == 0


SIZES = {"one": 7, "two": 30, "three": 1, "four": 12}
"""Of the tasks of a group; one is so small that a half of it is empty and its error is unknown."""


@pytest.mark.parametrize("names", [["one", "two"], ["one", "two", "four"], ["one", "three"], ["three"]])
def test_the_score_of_a_group_is_that_of_its_documents_scored_together(names, tmp_path):
    tasks = {name: Quiz() for name in names}
    samples = {name: marked(name, [sample(name, number) for number in range(SIZES[name])]) for name in names}
    whole = scored(tasks, [one for own in samples.values() for one in own], "acc")
    members = list(units([{**EXAMS, "task": name, "group": "pair"} for name in names], lambda entry: []))
    other = {**EXAMS, "task": "trivia"}
    [alone] = units([other], lambda entry: [])
    parts = []
    for unit in [*members, alone]:
        name = unit.entry["task"]
        same = {key: unit.entry[key] for key in ("task", "language", "measure", "metric")} | {"seed": None}
        keys = {"key": unit.key("model", True, {}), "fingerprint": unit.fingerprint({})}
        own = scored({name: tasks[name]}, samples[name], "acc") if name in tasks else {"value": 1.0}
        parts.append({**same, **keys, **own})
        if name in tasks:
            with gzip.open(tmp_path / f"{name}.{keys['key']}.jsonl.gz", "wt") as file:
                file.writelines(json.dumps(one) + "\n" for one in samples[name])
    together, trivia = gathered([*members, alone], parts, tmp_path)
    assert trivia == parts[-1]
    assert together["task"] == "pair"
    assert {key: together[key] for key in ("language", "measure", "metric", "seed")} == {
        "language": "eu",
        "measure": "benchmark",
        "metric": "acc",
        "seed": None,
    }
    for found, expected in [
        (together, whole),
        *((together["parts"][half], whole["parts"][half]) for half in ("dev", "test")),
    ]:
        assert found["n"] == expected["n"]
        for number in ("value", "stderr"):
            assert found[number] == (None if expected[number] is None else pytest.approx(expected[number], abs=1e-12))
    [file] = tmp_path.iterdir()
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    assert [json.loads(line) for line in lines] == [one for name in names for one in samples[name]]
    assert group_files(members, [part["key"] for part in parts[:-1]]) == {"pair": [file.name]}
    before = file.read_bytes()
    assert gathered([*members, alone], parts, tmp_path)[0] == together  # a result that is gathered again
    assert file.read_bytes() == before


def test_each_seed_of_a_group_has_its_score(tmp_path):
    found = list(
        units([{**EXAMS, "task": name, "group": "pair", "seeds": [1, 2]} for name in ("a", "b")], lambda _: [])
    )
    score = {"stderr": 1.0, "n": 4, "language": "eu", "measure": "benchmark", "metric": "acc", "fingerprint": "f"}
    parts = [
        {
            **score,
            "task": unit.entry["task"],
            "seed": unit.seed,
            "key": f"{index}",
            "value": 10.0 * index,
            "parts": {half: {**score, "value": 1.0} for half in ("dev", "test")},
        }
        for index, unit in enumerate(found)
    ]
    assert [(each["seed"], each["value"], each["stderr"]) for each in gathered(found, parts)] == [
        (1, 10.0, pytest.approx(0.5**0.5)),
        (2, 20.0, pytest.approx(0.5**0.5)),
    ]


def test_the_exams_are_entries_of_their_own():
    found = list(expanded({**EXAMS, "content": "of the group"}, [SHIPPED]))
    assert len(found) == 29
    assert all(entry == {**EXAMS, "task": entry["task"], "group": "eus_exams_eu"} for entry in found)
    assert [list(expanded(entry, [SHIPPED])) for entry in found] == [[entry] for entry in found]


def test_other_tasks_are_one_entry():
    for entry in ({**EXAMS, "task": "eus_trivia"}, {**EXAMS, "task": "bertaqa_eu_local", "content": "x"}):
        assert list(expanded(entry, [SHIPPED])) == [entry]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two tasks of the user's own, a group of them, and a group of that group."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, "dataset_path": "lab/quiz"}))
    (tmp_path / "pair.yaml").write_text(yaml.safe_dump(GROUP))
    (tmp_path / "all.yaml").write_text(
        yaml.safe_dump({**GROUP, "group": "everything", "task": ["pair", "eus_exams_eu"]})
    )
    yield tmp_path
    forget_files()


def test_members_of_the_users_own_have_their_content(folder):
    found = list(expanded({**EXAMS, "task": "pair"}, [folder, SHIPPED]))
    assert [(entry["task"], entry["group"]) for entry in found] == [("one", "pair"), ("two", "pair")]
    assert [entry["content"] for entry in found] == [content_key(name, [folder]) for name in ("one", "two")]


def test_groups_of_groups(folder):
    found = list(expanded({**EXAMS, "task": "everything"}, [folder, SHIPPED]))
    assert len(found) == 2 + 29
    assert {entry["group"] for entry in found} == {"everything"}


def test_a_group_with_another_mean_is_refused(folder):
    (folder / "pair.yaml").write_text(yaml.safe_dump({"group": "pair", "task": ["one", "two"]}))
    with pytest.raises(UserError, match=r"pair.yaml: the score of the group 'pair' is not the plain mean"):
        list(expanded({**EXAMS, "task": "pair"}, [folder]))


def test_a_group_continues_with_the_members_that_are_left(world, tmp_path, monkeypatch):
    """The third of three members fails at first; the first two are not asked again."""
    names = ["quiz_one", "quiz_two", "quiz_three"]
    questions = [{"question": f"{number} + 1 =", "choices": ["2", "3"], "answer": number % 2} for number in range(6)]
    for size, name in enumerate(names, start=4):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in questions[:size]))
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "question",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc"}],
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(task))
    (tmp_path / "quizzes.yaml").write_text(yaml.safe_dump({**GROUP, "group": "quizzes", "task": names}))
    out = tmp_path / "out"
    evaluation = Evaluation(
        model=world / "model",
        tasks=[{"task": "quizzes", "language": "en", "measure": "benchmark", "metric": "acc", "fewshot": 0}],
        lookup=Lookup([tmp_path]),
        parts=out / "tasks",
        samples=out / "samples",
        key=None,
        chat_template=False,
        backend={"dtype": "float32", "batch_size": 8, "max_length": 256},
    )
    asked, answers = [], Evaluation.answers

    def failing(self, unit, tasks):
        asked.append(unit.name())
        if asked == names:
            raise RuntimeError("the node is gone")
        return answers(self, unit, tasks)

    monkeypatch.setattr(Evaluation, "answers", failing)
    with pytest.raises(UserError, match=r"1 of 3 tasks failed .*\n  quiz_three: RuntimeError: the node is gone"):
        evaluation.run(out / "result.json", {})
    assert len(list((out / "tasks").glob("*.json"))) == 2
    assert not (out / "result.json").exists()
    replace(evaluation).run(out / "result.json", {})
    assert asked == [*names, "quiz_three"]
    [score] = read_sealed(out / "result.json")["scores"]
    assert (score["task"], score["n"]) == ("quizzes", 4 + 5 + 6)
    parts = [read_sealed(path) for path in (out / "tasks").glob("*.json")]
    assert score["value"] == pytest.approx(sum(part["value"] for part in parts) / 3)
    [file] = (out / "samples").glob("*.jsonl.gz")
    assert file.name == f"quizzes.{score['key']}.jsonl.gz"
    assert len(gzip.decompress(file.read_bytes()).splitlines()) == 15
