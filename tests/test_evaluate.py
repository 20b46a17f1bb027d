"""scripts/evaluate.py: real lm-eval tasks of the miniature world on a real, random model of a few thousand parameters."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from common import UserError
from evaluation.harness import Evaluation

ROOT = Path(__file__).parents[1]

GRAMMAR = {"task": "mini_grammar_eu", "language": "eu", "measure": "benchmark", "metric": "acc"}
TRANSLATION = {"task": "mini_translation_en_eu", "language": "eu", "measure": "mt", "metric": "bleu", "generation": {"max_gen_toks": 4}}
IFEVAL = {
    "task": "mini_ifeval_eu",
    "language": "eu",
    "measure": "ifeval",
    "metric": "inst_level_strict_acc",
    "seeds": [21, 22],
    "generation": {"do_sample": True, "temperature": 1.0, "max_gen_toks": 8},
}


def script(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / name, *map(str, arguments)], check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Basque's data, and a random model with a tokenizer and a chat template."""
    folder = tmp_path_factory.mktemp("world")
    script("corpus.py", folder / "eu", "--language", "eu", "--lines", 400, "--documents", 8, "--translations", 4, "--prompts", 4)
    script("tokenizer.py", folder / "model", "--vocab-size", 400, folder / "eu" / "corpus.jsonl")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    return folder


def evaluation(world: Path, out: Path, tasks: list[dict], **changes) -> Evaluation:
    settings = {
        "model": world / "model",
        "tasks": tasks,
        "include": [str(world / "eu" / "tasks")],
        "parts": out / "tasks",
        "samples": out / "samples",
        "key": None,
        "chat_template": True,
        "backend": {"dtype": "float32", "batch_size": 8, "max_length": 256},
    }
    return Evaluation(**{**settings, **changes})


def scores(path: Path) -> list[dict]:
    return json.loads(path.read_text())["scores"]


def read_samples(path: Path) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def test_one_score_a_task_and_seed_with_its_error_and_count(world, tmp_path):
    evaluation(world, tmp_path, [GRAMMAR, TRANSLATION, IFEVAL]).run(tmp_path / "r.json", {"cell": {"backbone": "b"}})
    found = scores(tmp_path / "r.json")
    assert [(score["measure"], score["seed"]) for score in found] == [("benchmark", None), ("mt", None), ("ifeval", 21), ("ifeval", 22)]
    grammar, translation, ifeval, _ = found
    assert grammar["n"] == 8
    assert grammar["value"] in [100 * right / 8 for right in range(9)]
    share = grammar["value"] / 100
    assert grammar["stderr"] == pytest.approx(100 * (share * (1 - share) / 7) ** 0.5)  # of a mean of 8 zeros and ones
    assert translation["n"] == 4
    documents = [json.loads(line) for line in (world / "eu/tasks/mini_ifeval_eu.test.jsonl").read_text().splitlines()]
    assert ifeval["n"] == sum(len(document["instruction_id_list"]) for document in documents)
    assert json.loads((tmp_path / "r.json").read_text())["cell"] == {"backbone": "b"}


def test_finished_tasks_do_not_run_again(world, tmp_path):
    evaluation(world, tmp_path, [GRAMMAR]).run(tmp_path / "first.json", {})
    (part,) = (tmp_path / "tasks").glob("*.json")
    before = part.stat().st_mtime_ns
    evaluation(world, tmp_path, [GRAMMAR, TRANSLATION]).run(tmp_path / "second.json", {})
    assert part.stat().st_mtime_ns == before
    assert len(scores(tmp_path / "second.json")) == 2


def test_what_determines_a_result_is_in_its_key(world, tmp_path):
    changes = [
        {},
        {"tasks": [{**GRAMMAR, "fewshot": 1}]},
        {"chat_template": False},
        {"key": "other weights"},
    ]
    for change in changes:
        evaluation(world, tmp_path, **{"tasks": [GRAMMAR], **change}).run(tmp_path / "r.json", {})
    assert len(list((tmp_path / "tasks").glob("*.json"))) == len(changes)


def test_the_key_of_other_weights_is_another(world, tmp_path):
    first = evaluation(world, tmp_path, [GRAMMAR]).model_key
    model = LlamaForCausalLM.from_pretrained(world / "model")
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(world / "model").save_pretrained(tmp_path / "model")
    assert evaluation(world, tmp_path, [GRAMMAR], model=tmp_path / "model").model_key != first


def test_a_seed_gives_the_same_answers_again_and_another_seed_others(world, tmp_path):
    def answers(folder: str, seed: int) -> list:
        evaluation(world, tmp_path / folder, [{**IFEVAL, "seeds": [seed]}]).run(tmp_path / folder / "r.json", {})
        (path,) = (tmp_path / folder / "samples").glob("*.jsonl.gz")
        return [sample["resps"] for sample in read_samples(path)]

    first = answers("a", 21)
    assert first == answers("b", 21)
    assert first != answers("c", 22)


@pytest.mark.parametrize("chat", [True, False])
def test_the_chat_template_is_for_instructed_models_only(world, tmp_path, chat):
    evaluation(world, tmp_path, [{**TRANSLATION, "fewshot": 2}], chat_template=chat).run(tmp_path / "r.json", {})
    (path,) = (tmp_path / "samples").glob("*.jsonl.gz")
    sample = read_samples(path)[0]
    prompt = str(sample["arguments"])
    assert prompt.count("<|im_start|>user") == (3 if chat else 0)  # two few-shots and the question, as turns
    assert prompt.count("Basque:") == 3


def test_a_task_can_refuse_the_chat_template(world, tmp_path):
    evaluation(world, tmp_path, [{**TRANSLATION, "chat_template": False}]).run(tmp_path / "r.json", {})
    (path,) = (tmp_path / "samples").glob("*.jsonl.gz")
    assert "<|im_start|>" not in str(read_samples(path)[0]["arguments"])


def test_a_task_that_fails_is_named_and_the_others_are_kept(world, tmp_path):
    with pytest.raises(UserError, match=r"1 of 2 tasks failed.*\n.*mini_nothing_eu"):
        evaluation(world, tmp_path, [{**GRAMMAR, "task": "mini_nothing_eu"}, GRAMMAR]).run(tmp_path / "r.json", {})
    assert not (tmp_path / "r.json").exists()
    assert len(list((tmp_path / "tasks").glob("mini_grammar_eu.*.json"))) == 1


def test_a_metric_that_the_task_does_not_have(world, tmp_path):
    with pytest.raises(UserError, match="no metric 'accuracy'; it has acc"):
        evaluation(world, tmp_path, [{**GRAMMAR, "metric": "accuracy"}]).run(tmp_path / "r.json", {})


def test_command_refuses_a_folder_without_a_model(tmp_path):
    command = [sys.executable, ROOT / "scripts/evaluate.py", tmp_path, tmp_path / "r.json", "--tasks", "[]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "config.json" in done.stderr
    assert not (tmp_path / "r.json").exists()


def test_collect_refuses_what_is_not_a_result(tmp_path):
    (tmp_path / "half.json").write_text('{"cell": {')
    (tmp_path / "names").write_text(f"{tmp_path}/half.json\n")
    command = [sys.executable, ROOT / "scripts/collect.py", tmp_path / "names", tmp_path / "scores.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "half.json" in done.stderr
    assert not (tmp_path / "scores.csv").exists()
