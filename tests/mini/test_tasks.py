"""Instructions and tasks: right answers are right, and lm-eval runs every task."""

from __future__ import annotations

import shutil
from random import Random

import lm_eval
import pytest
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from langmerge.errors import UserError
from langmerge.evaluation.ifeval import process_results
from langmerge.evaluation.lookup import Lookup
from langmerge.mini import benchmarks, phrases
from langmerge.mini.benchmarks import Sizes
from langmerge.mini.corpus import corpus, drawn
from langmerge.mini.instructions import CONSTRAINTS, phrase_content, prompt
from langmerge.mini.invented import invented_content
from support.mini import SMALL, generate, training_text


def test_right_answers_follow_their_instructions_and_the_bare_content_does_not(languages):
    rng = Random(0)
    seen: set[str] = set()
    bare = 0
    for number in range(600):
        language = list(languages.values())[number % len(languages)]
        meaning = drawn([language], phrases.phrase, rng)
        content = invented_content(rng) if number % 3 == 0 else phrase_content(language, meaning)
        instructed = prompt(content, rng)
        document = {"instruction_id_list": instructed.ids, "kwargs": instructed.kwargs}
        assert process_results(document, [instructed.answer])["prompt_level_strict_acc"], instructed
        bare += process_results(document, [content.text])["prompt_level_strict_acc"]
        seen.update(instructed.ids)
    assert seen == {constraint.id for constraint in CONSTRAINTS}
    assert bare < 60


def test_instructions_translate_only_with_a_partner(tmp_path):
    generate(tmp_path / "with", "en", lines=400, sizes=SMALL, partner="es")
    generate(tmp_path / "without", "en", lines=400, sizes=SMALL)
    assert "\nSpanish:" in training_text(tmp_path / "with")
    assert "\nSpanish:" not in training_text(tmp_path / "without")


@pytest.fixture(scope="module")
def model() -> HFLM:
    """A random model that reads bytes."""
    letters = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=len(wrapped), **shape))
    return HFLM(pretrained=llama, tokenizer=wrapped, batch_size=16, device="cpu")


def test_lm_eval_runs_every_task_wherever_its_folder_is_moved(world, tmp_path, model):
    folder = shutil.copytree(world / "eu" / "tasks", tmp_path / "it's moved ñ")
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    tasks = {}
    for name in names:
        assert str(world) not in (folder / f"{name}.yaml").read_text()
        tasks |= Lookup(include=[folder]).load({"task": name})
    for task in tasks.values():
        task.set_config("num_fewshot", 1)
        task.set_fewshot_seed(1)
        if task.OUTPUT_TYPE == "generate_until":
            task.set_config("generation_kwargs", {"max_gen_toks": 4}, update=True)
    results = lm_eval.evaluate(model, {"tasks": tasks}, limit=2, bootstrap_iters=0)["results"]
    metrics = {name: next(metric for metric in scores if metric.endswith(",none")) for name, scores in results.items()}
    assert metrics == {
        "mini_calendar_eu": "acc,none",
        "mini_grammar_eu": "acc,none",
        "mini_ifeval_eu": "prompt_level_strict_acc,none",
        "mini_translation_en_eu": "bleu,none",
        "mini_translation_es_eu": "bleu,none",
        "mini_vocabulary_eu": "acc,none",
    }
    assert "inst_level_strict_acc,none" in results["mini_ifeval_eu"]


def test_too_few_lines_give_a_clear_error(languages):
    with pytest.raises(UserError, match=r"10 lines are too few for Basque.* Raise --lines"):
        corpus(languages["eu"], [languages["en"]], 10, Random(0))


def test_too_many_documents_give_a_clear_error(languages, monkeypatch):
    monkeypatch.setattr(benchmarks, "TRIES", 50)
    made = benchmarks.tasks(languages["eu"], [languages["en"]], Sizes(60, 4, 4), "", Random(0))
    with pytest.raises(UserError, match=r"mini_vocabulary_eu: only \d+ of 60 different test .*Ask for fewer"):
        next(made)
