"""What can be seen of answers without knowing the right ones, and what of it is suspicious."""

from __future__ import annotations

import gzip
import json

import pytest

from langmerge.diagnostics import REPETITIVE, TURN, added_up, compression, diagnose
from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.lookup import Lookup
from langmerge.evaluation.sealed import read_sealed
from langmerge.suspicion import joined, kinds, remarks

BASQUE = "Pertsona guztiak aske jaiotzen dira, duintasun eta eskubide berberak dituztela."
ENGLISH = "All human beings are born free and equal in dignity and rights."
COLLAPSED = "ez dakit zer esan behar dudan, " * 60


def answer(text: str, **changes) -> dict:
    """A sample of a task that generates text."""
    return {"filter": "none", "filtered_resps": [text], "resps": [[text]], **changes}


def choice(**changes) -> dict:
    """A sample of a multiple-choice task."""
    return {"filter": "none", "filtered_resps": [[-1.0, True], [-2.0, False]], **changes}


def test_ordinary_answers():
    found = diagnose([answer(BASQUE, finished=[True], truncated=0), answer(f"{BASQUE}\n{BASQUE}")], "eu")
    assert found == {
        "prompts": 2,
        "truncated": 0,
        "answers": 2,
        "limit": 0,
        "empty": 0,
        "thinking": 0,
        "turns": 0,
        "repetitive": 0,
        "zlib": pytest.approx((compression(BASQUE) + compression(f"{BASQUE}\n{BASQUE}")) / 2, abs=1e-3),
        "characters": (len(BASQUE) + 2 * len(BASQUE) + 1) / 2,
        "words": 15,
        "languages": {"eu": 2},
        "lines": 3,
        "lines_in_language": 3,
    }
    assert remarks("eu", found) == []


def test_each_fault_is_counted():
    samples = [
        answer("", truncated=7),
        answer(" \n", finished=[False]),
        answer(f"<think>{ENGLISH}</think>"),
        answer(f"{BASQUE}assistant\n\n{BASQUE}"),
        answer(COLLAPSED, finished=[False]),
        answer(f"{BASQUE}\n{ENGLISH}"),
        answer("Bai."),
    ]
    found = diagnose(samples, "eu")
    counts = {name: found[name] for name in ("truncated", "limit", "empty", "thinking", "turns", "repetitive")}
    assert counts == {"truncated": 1, "limit": 2, "empty": 2, "thinking": 1, "turns": 1, "repetitive": 1}
    assert found["prompts"] == found["answers"] == 7
    assert sum(found["languages"].values()) == 4, "an answer of one word is not judged"
    assert (found["lines"], found["lines_in_language"]) == (6, 4), "the first two are English"


def test_multiple_choice_has_prompts_only():
    found = diagnose([choice(), choice(truncated=3), choice(truncated=0)], "eu")
    assert found == {"prompts": 3, "truncated": 1}
    assert remarks("eu", found) == ["prompts cut 33%"]


def test_other_filters_do_not_count():
    assert diagnose([choice(), choice() | {"filter": "strict"}], "eu")["prompts"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "Kaixo.<|eot_id|><|start_header_id|>user<|end_header_id|>",
        "Kaixo.<|im_end|>\n<|im_start|>user\n",
        "Kaixo.\nassistant\nBai.",
        "Eskerrik askoassistant\n\nEz horregatik",
        "Eskerrik asko.assistant",
        "Kaixo.user\nZer moduz?",
        "Kaixo.\n\nuser\nZer moduz?",
        "Kaixo.\nHuman: Zer moduz?",
        "Kaixo. [INST] Zer moduz? [/INST]",
        "Kaixo.<end_of_turn>\n<start_of_turn>user",
    ],
)
def test_a_second_turn_is_seen_with_and_without_special_tokens(text):
    assert TURN.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "Ask an assistant\nor a friend.",
        "The user\nwrote this.",
        "Users: three.",
        "A letter to the user: hello.",
        "assistant manager",
        "P.S. The system works.\nuser-friendly",
    ],
)
def test_ordinary_words_are_no_turn(text):
    assert not TURN.search(text)


def test_compression_of_ordinary_and_of_repeated_text():
    assert compression("") == 0
    assert 1 < compression(f"{BASQUE} {ENGLISH}") < 2
    assert compression(COLLAPSED) > 4 * REPETITIVE


def test_members_of_a_group_are_added_up():
    first, second = [answer(BASQUE), answer("", finished=[False])], [answer(ENGLISH, truncated=2)]
    whole, added = diagnose([*first, *second], "eu"), added_up([diagnose(first, "eu"), diagnose(second, "eu")])
    assert added.pop("languages") == whole.pop("languages")
    assert added == pytest.approx(whole, abs=0.002)
    assert added_up([diagnose([choice()], "eu"), diagnose([choice(truncated=1)], "eu")]) == {
        "prompts": 2,
        "truncated": 1,
    }


def test_an_evaluation_keeps_them_beside_its_scores(world, tmp_path):
    """Of a random model with room for a few tokens: it never ends by itself, and its prompts are
    cut.

    They are in the part and in the result, and say what the samples say.
    """
    choices = {"task": "mini_calendar_eu", "language": "eu", "measure": "benchmark", "metric": "acc", "fewshot": 5}
    written = {"task": "mini_translation_en_eu", "language": "eu", "measure": "mt", "metric": "bleu"}
    written |= {"generation": {"max_gen_toks": 4, "until": ["no such text"]}}
    backend, lookup = {"dtype": "float32", "batch_size": 8, "max_length": 60}, Lookup([world / "eu" / "tasks"])
    folder, samples = tmp_path / "tasks", tmp_path / "samples"
    evaluation = Evaluation(world / "model", [choices, written], lookup, folder, samples, "key", False, backend)
    evaluation.run(tmp_path / "r.json", {})
    first, second = read_sealed(tmp_path / "r.json")["scores"]
    assert first["diagnostics"]["prompts"] == first["n"] == first["diagnostics"]["truncated"]
    assert second["diagnostics"]["answers"] == second["n"]
    for score in (first, second):
        (path,) = samples.glob(f"{score['task']}.*.jsonl.gz")
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            assert diagnose(map(json.loads, lines), "eu") == score["diagnostics"]
        (part,) = folder.glob(f"{score['task']}.*.json")
        assert read_sealed(part)["diagnostics"] == score["diagnostics"]
    assert second["diagnostics"]["limit"] > second["n"] / 2
    assert "prompts cut 100%" in remarks("eu", first["diagnostics"])


# ---- what is suspicious


@pytest.mark.parametrize(
    ("count", "allowed", "words"),
    [
        ("truncated", 0, "prompts cut"),
        ("limit", 10, "answers cut at the limit"),
        ("empty", 5, "empty answers"),
        ("thinking", 1, "answers with <think>"),
        ("turns", 1, "answers with a second turn"),
        ("repetitive", 5, "repetitive answers"),
    ],
)
def test_a_count_is_suspicious_above_its_share(count, allowed, words):
    found = {"prompts": 100, "answers": 100}
    assert remarks("eu", found | {count: allowed}) == []
    assert remarks("eu", found | {count: allowed + 1}) == [f"{words} {allowed + 1}%"]


def test_a_share_below_one_percent_is_not_printed_as_0():
    assert remarks("eu", {"prompts": 5169, "truncated": 7}) == ["prompts cut 0.1%"]


def test_answers_in_one_other_language_are_suspicious_if_they_are_most_of_ten():
    def found(**languages: int) -> list[str]:
        return remarks("eu", {"prompts": 20, "answers": 20, "languages": languages})

    assert found(en=5, eu=5) == [] and found(en=9) == [] and found(en=4, es=4, fr=4) == []
    assert found(eu=4, en=6) == ["answers in en 60%"]


def test_a_score_without_diagnostics_is_not_suspicious():
    assert remarks("eu", None) == remarks("eu", {}) == []


def test_remarks_are_one_cell_of_a_table():
    found = ["prompts cut 3%", "answers with <think> 0.2%"]
    assert kinds(joined(found)) == ["prompts cut", "answers with <think>"]
    assert kinds("") == []
