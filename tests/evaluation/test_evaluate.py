"""Evaluation: lm-eval tasks of the miniature world on a random model of few parameters."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import sacrebleu
from lm_eval.api.metrics import bleu as lm_eval_bleu
from lm_eval.api.metrics import bootstrap_stderr
from transformers import AutoTokenizer

from langmerge.errors import UserError
from langmerge.evaluation import backends
from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.lookup import Lookup
from langmerge.evaluation.scores import BOOTSTRAP, bleu_error, part, scored
from langmerge.evaluation.sealed import read_sealed, write_sealed
from support.tiny import make_model

GRAMMAR = {"task": "mini_grammar_eu", "language": "eu", "measure": "benchmark", "metric": "acc"}
TRANSLATION = {
    "task": "mini_translation_en_eu",
    "language": "eu",
    "measure": "mt",
    "metric": "bleu",
    "generation": {"max_gen_toks": 4},
}
IFEVAL = {
    "task": "mini_ifeval_eu",
    "language": "eu",
    "measure": "ifeval",
    "metric": "inst_level_strict_acc",
    "seeds": [21, 22],
    "generation": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_gen_toks": 8},
}


def evaluation(world: Path, out: Path, tasks: list[dict], **changes) -> Evaluation:
    settings = {
        "model": world / "model",
        "tasks": tasks,
        "lookup": Lookup([world / "eu" / "tasks"]),
        "parts": out / "tasks",
        "samples": out / "samples",
        "key": None,
        "chat_template": True,
        "backend": {"dtype": "float32", "batch_size": 8, "max_length": 256},
    }
    return Evaluation(**{**settings, **changes})


def scores(path: Path) -> list[dict]:
    return read_sealed(path)["scores"]


def read_samples(path: Path) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def test_one_score_per_task_and_seed_with_its_error_and_count(world, tmp_path):
    evaluation(world, tmp_path, [GRAMMAR, TRANSLATION, IFEVAL]).run(tmp_path / "r.json", {"cell": {"backbone": "b"}})
    found = scores(tmp_path / "r.json")
    assert [(score["measure"], score["seed"]) for score in found] == [
        ("benchmark", None),
        ("mt", None),
        ("ifeval", 21),
        ("ifeval", 22),
    ]
    grammar, translation, ifeval, _ = found
    assert grammar["n"] == 8
    assert grammar["value"] in [100 * right / 8 for right in range(9)]
    share = grammar["value"] / 100
    # The standard error of a mean of 8 zeros and ones.
    assert grammar["stderr"] == pytest.approx(100 * (share * (1 - share) / 7) ** 0.5)
    assert translation["n"] == 4
    tokenizer = AutoTokenizer.from_pretrained(world / "model")
    lines = (world / "eu/tasks/mini_translation_en_eu.test.jsonl").read_text().splitlines()
    references = [json.loads(line)["reference"] for line in lines]
    assert translation["fertility"] == {
        "words": sum(len(re.findall(r"\w+", text)) for text in references),
        "tokens": sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in references),
    }
    assert "fertility" not in grammar
    documents = [json.loads(line) for line in (world / "eu/tasks/mini_ifeval_eu.test.jsonl").read_text().splitlines()]
    assert ifeval["n"] == sum(len(document["instruction_id_list"]) for document in documents)
    assert read_sealed(tmp_path / "r.json")["cell"] == {"backbone": "b"}


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
    assert prompt.count("<|im_start|>user") == (3 if chat else 0)  # two examples and the question
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


def marked_samples(task: str, metric: str, values: list) -> list[dict]:
    return [
        {"task": task, "filter": "none", "part": part(task, str(number)), "doc_hash": str(number), metric: value}
        for number, value in enumerate(values)
    ]


def test_halves_are_about_equal_and_stay_the_same():
    halves = [part("a task", str(number)) for number in range(1000)]
    assert 450 < halves.count("dev") < 550
    assert halves[:8] == [
        "dev",
        "dev",
        "test",
        "dev",
        "test",
        "dev",
        "dev",
        "test",
    ]  # a change would mix old results with new
    assert halves != [part("another", str(number)) for number in range(1000)]


def test_each_half_is_scored_by_the_tasks_own_aggregation(world):
    lookup = Lookup([world / "eu" / "tasks"])
    pairs = [
        ("bat bi hiru lau bost", "bat bi hiru lau bost" if number % 3 else "bat bi lau hiru") for number in range(40)
    ]
    task = lookup.load(TRANSLATION)
    samples = marked_samples(TRANSLATION["task"], "bleu", pairs)
    found = scored(task, samples, "bleu")
    for half in ("dev", "test"):
        chosen = [sample["bleu"] for sample in samples if sample["part"] == half]
        expected = sacrebleu.corpus_bleu(
            [hypothesis for _, hypothesis in chosen], [[reference for reference, _ in chosen]]
        ).score
        assert found["parts"][half]["value"] == pytest.approx(expected)
        assert found["parts"][half]["n"] == len(chosen)
        assert found["parts"][half]["stderr"] > 0
    assert found["n"] == 40

    verdicts = [[True], [False, True], [True, True, False]] * 10
    samples = marked_samples(IFEVAL["task"], "inst_level_strict_acc", verdicts)
    found = scored(lookup.load(IFEVAL), samples, "inst_level_strict_acc")
    for half in ("dev", "test"):
        flat = [verdict for sample in samples if sample["part"] == half for verdict in sample["inst_level_strict_acc"]]
        assert found["parts"][half] == {
            "value": pytest.approx(100 * sum(flat) / len(flat)),
            "stderr": None,
            "n": len(flat),
        }


def test_the_error_of_bleu_is_lm_evals(monkeypatch):
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    draw = random.Random(3)
    words = ["bat", "bi", "hiru", "lau", "bost", "sei"]
    items = [
        (" ".join(draw.choices(words, k=12)), " ".join(draw.choices(words, k=draw.randrange(1, 14)))) for _ in range(30)
    ]
    assert bleu_error(items) == pytest.approx(bootstrap_stderr(lm_eval_bleu, items, BOOTSTRAP), rel=1e-9)


def test_a_half_without_documents_has_no_value(world):
    found = scored(Lookup([world / "eu" / "tasks"]).load(GRAMMAR), marked_samples(GRAMMAR["task"], "acc", [1.0]), "acc")
    assert sorted(found["parts"].values(), key=lambda half: half["n"]) == [
        {"value": None, "stderr": None, "n": 0},
        {"value": 100, "stderr": None, "n": 1},
    ]


def test_the_halves_of_a_score_are_those_of_its_samples(world, tmp_path):
    evaluation(world, tmp_path, [GRAMMAR]).run(tmp_path / "r.json", {})
    (score,) = scores(tmp_path / "r.json")
    (path,) = (tmp_path / "samples").glob("*.jsonl.gz")
    for half, found in score["parts"].items():
        right = [sample["acc"] for sample in read_samples(path) if sample["part"] == half]
        assert found["n"] == len(right)
        assert found["value"] == pytest.approx(100 * sum(right) / len(right))


OUT_OF_MEMORY = """
import json, re, resource, sys
from pathlib import Path
from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.lookup import Lookup

model, include, tasks, out, batch, spare = sys.argv[1:]
evaluation = Evaluation(
    model=Path(model), tasks=json.loads(tasks), lookup=Lookup([Path(include)]), parts=Path(out) / "tasks", samples=None,
    key="k", chat_template=False, backend={"device": "cpu", "dtype": "float32", "batch_size": int(batch), "max_length": 256},
)
evaluation.lm
used = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_AS, (used + int(spare) * 2**20,) * 2)
evaluation.run(Path(out) / "r.json", {})
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="needs Linux's /proc to see how much memory is in use"
)
def test_out_of_memory_halves_the_batch_and_goes_on(world, tmp_path):
    """A process that may take 45 MB more than it has.

    The logits of 8 documents' choices over 60,000 words do not fit, those of a few do.
    """
    wide = tmp_path / "wide"
    make_model(wide, world / "eu" / "corpus.jsonl", vocab_size=60_000)

    def run(out: Path, batch: int, spare: int, tasks: list[dict]) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", OUT_OF_MEMORY, wide, world / "eu/tasks", json.dumps(tasks), out, batch, spare]
        # Without an arena per thread, and with freed memory given back: otherwise it is chance how
        # much of the limit is left.
        malloc = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **malloc}
        return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)

    vocabulary = {**GRAMMAR, "task": "mini_vocabulary_eu"}
    limited = run(tmp_path / "limited", 32, 45, [GRAMMAR, vocabulary])
    assert limited.returncode == 0, limited.stderr[-3000:]
    assert (
        limited.stderr.count("out of memory with batches of 8; continuing with 4") == 2
    )  # a task starts with the batch that was asked for
    free = {
        "model": wide,
        "key": "k",
        "chat_template": False,
        "backend": {"dtype": "float32", "batch_size": 2, "max_length": 256},
    }
    evaluation(world, tmp_path / "free", [GRAMMAR, vocabulary], **free).run(tmp_path / "free/r.json", {})
    assert scores(tmp_path / "limited/r.json") == scores(tmp_path / "free/r.json")

    hopeless = run(tmp_path / "hopeless", 4, 6, [GRAMMAR])
    assert hopeless.returncode != 0
    assert "continuing with 1" in hopeless.stderr
    assert "1 of 1 tasks failed" in hopeless.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "vllm"}, r"needs vLLM, in an environment of its own.*envs/run --vllm.*Or set `backend: hf`"),
        ({"backend": "tensorrt"}, "'tensorrt' is unknown; expected hf or vllm"),
        ({"gpu_memory_utilization": 0.8, "data_parallel_size": 2}, "has no data_parallel_size, gpu_memory_utilization"),
        (
            {"enable_thinking": False, "dtypo": 1},
            "hf has no dtypo, enable_thinking; it has .*dtype.*settings of a task",
        ),
    ],
)
def test_a_backend_that_cannot_be_had(world, settings, message):
    with pytest.raises(UserError, match=message):
        backends.load(world / "model", settings)


def test_thinking_is_turned_off_in_the_chat_template(world, tmp_path):
    """A template like Qwen3's: an empty thought before the answer if thinking is off."""
    shutil.copytree(world / "model", tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.chat_template += "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
    tokenizer.save_pretrained(tmp_path / "model")
    for settings, thoughts in (({"enable_thinking": True}, 0), ({}, 1)):
        out = tmp_path / f"thoughts{thoughts}"
        evaluation(world, out, [{**TRANSLATION, **settings}], model=tmp_path / "model").run(out / "r.json", {})
        (path,) = (out / "samples").glob("*.jsonl.gz")
        assert [str(sample["arguments"]).count("<think></think>") for sample in read_samples(path)] == [thoughts] * 4


def test_a_result_says_what_it_was_made_with(world, tmp_path):
    evaluation(world, tmp_path, [GRAMMAR]).run(tmp_path / "first.json", {})
    (made,) = read_sealed(tmp_path / "first.json")["made_with"]
    assert made["versions"] == {name: version(name) for name in ("torch", "transformers", "lm_eval")}
    assert made["device"] == evaluation(world, tmp_path, []).lm.engine.device
    # A part that was made elsewhere keeps what it says.
    (part,) = (tmp_path / "tasks").glob("*.json")
    elsewhere = {**read_sealed(part), "made_with": {"versions": {"torch": "1"}, "device": "2 x NVIDIA H100"}}
    write_sealed(part, elsewhere)
    evaluation(world, tmp_path, [GRAMMAR, TRANSLATION]).run(tmp_path / "second.json", {})
    assert read_sealed(tmp_path / "second.json")["made_with"] == [elsewhere["made_with"], made]


def test_more_examples_than_there_are_is_refused_before_the_model_is_asked(world, tmp_path):
    there = len((world / "eu/tasks/mini_grammar_eu.dev.jsonl").read_text().splitlines())
    message = rf"mini_grammar_eu: fewshot: {there + 1} examples are asked for, but the split 'dev' has {there}"
    with pytest.raises(UserError, match=message):
        evaluation(world, tmp_path, [{**GRAMMAR, "fewshot": there + 1}]).run(tmp_path / "r.json", {})
    evaluation(world, tmp_path, [{**GRAMMAR, "fewshot": there}]).run(tmp_path / "r.json", {})


def test_a_model_without_a_chat_template_is_refused(world, tmp_path):
    shutil.copytree(world / "model", tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"1 of 1 tasks failed(.|\n)*mini_grammar_eu: .*has no chat template"):
        evaluation(world, tmp_path, [GRAMMAR], model=tmp_path / "model").run(tmp_path / "r.json", {})
    evaluation(world, tmp_path, [GRAMMAR], model=tmp_path / "model", chat_template=False).run(tmp_path / "r.json", {})


def test_samples_and_diagnostics_say_what_was_cut(world, tmp_path):
    backend = {"dtype": "float32", "batch_size": 8, "max_length": 48}
    evaluation(world, tmp_path, [GRAMMAR, IFEVAL], backend=backend).run(tmp_path / "r.json", {})
    for score, path in zip(scores(tmp_path / "r.json"), sorted((tmp_path / "samples").glob("*")), strict=True):
        cut = [sample["truncated"] for sample in read_samples(path)]
        assert score["diagnostics"]["truncated"] == sum(tokens > 0 for tokens in cut)
        for sample in read_samples(path):
            assert ("tokens" in sample) == ("finished" in sample) == (score["measure"] == "ifeval")
            assert all(0 < tokens <= 8 for tokens in sample.get("tokens", []))
    assert any(score["diagnostics"]["truncated"] for score in scores(tmp_path / "r.json"))


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_answers_do_not_depend_on_the_batch_size_which_no_name_contains(world, tmp_path, batch_size):
    found = []
    for folder, size in ((tmp_path / "a", 8), (tmp_path / "b", batch_size)):
        backend = {"dtype": "float32", "batch_size": size, "max_length": 256}
        evaluation(world, folder, [GRAMMAR, TRANSLATION, IFEVAL], backend=backend).run(folder / "r.json", {})
        found.append({path.name: [sample["filtered_resps"] for sample in read_samples(path)] for path in (folder / "samples").glob("*")})  # fmt: skip
    assert found[0].keys() == found[1].keys()
    for name, answers in found[0].items():
        if "grammar" not in name:
            assert answers == found[1][name]
    assert scores(tmp_path / "a/r.json") == scores(tmp_path / "b/r.json")
