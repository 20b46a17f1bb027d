"""Settings of tasks: defaults that are the same everywhere, and refusals of what is left open."""

from __future__ import annotations

import pytest

from langmerge.errors import UserError
from langmerge.evaluation.settings import DATE, chat_arguments, completed, merged

ENTRY = {"task": "quiz", "language": "eu", "measure": "ifeval", "metric": "acc"}
SAMPLED = {"temperature": 0.7, "top_p": 1, "top_k": 0}


def test_an_entry_is_completed_once():
    entry = completed({**ENTRY, "generation": {**SAMPLED, "max_gen_toks": 9}, "template": {"tone": "dry"}})
    assert entry == {
        **ENTRY,
        "generation": {**SAMPLED, "max_gen_toks": 9, "do_sample": True},
        "template": {"date_string": DATE, "tone": "dry"},
        "enable_thinking": False,
    }
    assert completed(entry) == entry
    assert chat_arguments(entry) == {"date_string": DATE, "tone": "dry", "enable_thinking": False}


def test_what_the_entry_says_is_kept():
    entry = completed({**ENTRY, "template": {"date_string": "1 Jan 2020"}, "enable_thinking": True})
    assert chat_arguments(entry) == {"date_string": "1 Jan 2020", "enable_thinking": True}
    assert "generation" not in entry  # the task's own file says how


@pytest.mark.parametrize(
    ("generation", "do_sample"),
    [({"temperature": 0}, False), ({"temperature": 0, "do_sample": False}, False), (SAMPLED, True)],
)
def test_temperature_alone_says_whether_answers_are_sampled(generation, do_sample):
    assert completed({**ENTRY, "generation": generation})["generation"]["do_sample"] is do_sample


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        ({"temperature": 0.7}, "0.7, and top_p and top_k are not given"),
        ({"temperature": 0.7, "top_p": 1}, "0.7, and top_k is not given"),
        ({"do_sample": True, "max_gen_toks": 4}, "do_sample: true does not fit temperature: None"),
        ({**SAMPLED, "do_sample": False}, "do_sample: false does not fit temperature: 0.7"),
        ({"max_new_tokens": 4}, "unknown key max_new_tokens. Known: temperature, top_p, top_k, max_gen_toks, until"),
    ],
)
def test_what_is_left_open_is_refused(generation, message):
    with pytest.raises(UserError, match=f"quiz: generation: .*{message}"):
        completed({**ENTRY, "generation": generation})


def test_changes_go_key_by_key_into_generation_and_template():
    settings = {**ENTRY, "fewshot": 5, "generation": SAMPLED}
    changed = merged(settings, {"fewshot": 2, "generation": {"top_k": 20}, "template": {"tone": "dry"}})
    assert changed == {**ENTRY, "fewshot": 2, "generation": {**SAMPLED, "top_k": 20}, "template": {"tone": "dry"}}
    assert settings["generation"] == SAMPLED
