"""The IFEval checkers: each on answers that follow and answers that do not, in several scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from evaluation.ifeval import CHECKERS, follows, process_results, share_followed

FOLLOWED = [
    ("change_case:english_capital", "ÀRTIC, Ñ 12 AÑOS", {}),
    ("change_case:english_capital", "EL 1.º TRIMESTRE", {}),
    ("change_case:english_lowercase", "ñandú çelik ωμέγα", {}),
    ("combination:repeat_prompt", "IDATZI hau: bi\nbi", {"prompt_to_repeat": "Idatzi hau: bi"}),
    ("detectable_content:number_placeholders", "Kaixo [izena], [data]", {"num_placeholders": 2}),
    ("detectable_content:postscript", "text\nP. S. ñ", {"postscript_marker": "P.S."}),
    ("detectable_content:postscript", "text\np.p.s more", {"postscript_marker": "P.P.S"}),
    ("detectable_format:number_bullet_lists", "* bat\n- bi", {"num_bullets": 2}),
    ("detectable_format:title", "<<Izenburua>>\nbat", {}),
    ("keywords:existence", "SUITZA eta Perú", {"keywords": ["suitza", "perú"]}),
    ("keywords:existence", "what (is it)?", {"keywords": ["(is it)?"]}),
    ("keywords:forbidden_words", "the category", {"forbidden_words": ["cat"]}),
    ("keywords:frequency", "bai bai Bai", {"keyword": "bai", "frequency": 3, "relation": "at least"}),
    ("keywords:frequency", "bai bai", {"keyword": "bai", "frequency": 3, "relation": "less than"}),
    ("length_constraints:number_words", "bat bi hiru", {"num_words": 3, "relation": "at least"}),
    ("punctuation:no_comma", "bat; bi", {}),
    ("startend:end_checker", 'ondo da. "Hori da DENA."', {"end_phrase": "Hori da dena."}),
    ("startend:quotation", ' "bat" ', {}),
]

NOT_FOLLOWED = [
    ("change_case:english_capital", "ÀRTIc", {}),
    ("change_case:english_capital", "12 + 3", {}),
    ("change_case:english_lowercase", "Ñandú", {}),
    ("combination:repeat_prompt", "bi\nIdatzi hau: bi", {"prompt_to_repeat": "Idatzi hau: bi"}),
    ("detectable_content:number_placeholders", "Kaixo [izena]", {"num_placeholders": 2}),
    ("detectable_content:postscript", "text ps", {"postscript_marker": "P.S."}),
    ("detectable_format:number_bullet_lists", "* bat\n* bi\n* hiru", {"num_bullets": 2}),
    ("detectable_format:number_bullet_lists", "**bat**\n* bi", {"num_bullets": 2}),
    ("detectable_format:title", "<< >>\nbat", {}),
    ("keywords:existence", "Suitza", {"keywords": ["suitza", "perú"]}),
    ("keywords:forbidden_words", "a Cat.", {"forbidden_words": ["cat"]}),
    ("keywords:frequency", "bai", {"keyword": "bai", "frequency": 2, "relation": "at least"}),
    ("length_constraints:number_words", "bat bi hiru", {"num_words": 3, "relation": "less than"}),
    ("punctuation:no_comma", "واحد، اثنان", {}),
    ("startend:end_checker", "Hori da dena. Agur", {"end_phrase": "Hori da dena."}),
    ("startend:quotation", '"', {}),
]


@pytest.mark.parametrize(("instruction", "response", "kwargs"), FOLLOWED)
def test_follows(instruction, response, kwargs):
    assert follows(response, instruction, **kwargs)


@pytest.mark.parametrize(("instruction", "response", "kwargs"), NOT_FOLLOWED)
def test_does_not_follow(instruction, response, kwargs):
    assert not follows(response, instruction, **kwargs)


def test_every_checker_is_tried_both_ways():
    assert {case[0] for case in FOLLOWED} == {case[0] for case in NOT_FOLLOWED} == set(CHECKERS)


@pytest.mark.parametrize(("instruction", "_", "kwargs"), FOLLOWED)
@pytest.mark.parametrize("response", ["", " \n\t"])
def test_an_empty_answer_follows_nothing(instruction, _, kwargs, response):
    assert not follows(response, instruction, **kwargs)


def test_padding_of_the_data_set_is_left_out():
    assert follows("bat; bi", "punctuation:no_comma", num_bullets=None)


def test_an_unknown_instruction_is_named():
    with pytest.raises(ValueError, match="language:response_language"):
        follows("bat", "language:response_language")


def test_scores_have_the_names_and_kinds_of_lm_evals_task():
    document = {
        "instruction_id_list": ["change_case:english_capital", "punctuation:no_comma"],
        "kwargs": [{"num_words": None}, {"num_words": None}],
    }
    scores = process_results(document, ["Here you are:\nBAT BI"])
    assert scores == {
        "prompt_level_strict_acc": False,
        "inst_level_strict_acc": [False, True],
        "prompt_level_loose_acc": True,
        "inst_level_loose_acc": [True, True],
    }
    base = Path(__file__).parents[1] / "scripts" / "evaluation" / "mini_ifeval.yaml"
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    assert [entry["metric"] for entry in yaml.load(base.read_text(), loader)["metric_list"]] == list(scores)


def test_loose_scores_ignore_asterisks():
    document = {"instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
    scores = process_results(document, ['**"bat"**'])
    assert not scores["inst_level_strict_acc"][0]
    assert scores["inst_level_loose_acc"][0]


def test_instruction_level_is_the_share_over_all_prompts():
    assert share_followed([[True], [True, False, False]]) == 0.5
