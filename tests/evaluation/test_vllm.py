"""vLLM, really started (its build for CPUs): what it says is what transformers and lm-eval say."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from lm_eval.api.registry import get_model

from langmerge.evaluation.engines.lm import EngineLM
from langmerge.evaluation.engines.protocol import Generating, Scoring
from langmerge.evaluation.engines.transformers import TransformersEngine
from langmerge.evaluation.lookup import Lookup
from support.asking import asked, same, write_letters
from support.hub_data import make_hub
from support.real_tasks import entries
from support.tiny import make_model
from support.vllm import RemoteEngine, make_environment

pytestmark = pytest.mark.vllm

MINIATURE = [
    {"task": task, "fewshot": 2, "metric": "acc"}
    for task in ("mini_grammar_eu", "mini_vocabulary_eu", "mini_calendar_eu")
]
GREEDY = {"do_sample": False, "max_gen_toks": 24}


@pytest.fixture(scope="module")
def programs() -> Path:
    return make_environment()


@pytest.fixture(scope="module")
def model(world, tmp_path_factory) -> Path:
    """A random model whose choices are not nearly equally probable. vLLM's attention on a CPU needs
    heads of 32.
    """
    folder = tmp_path_factory.mktemp("models") / "model"
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "max_position_embeddings": 4096}
    make_model(folder, world / "eu" / "corpus.jsonl", initializer_range=0.2, **shape)
    return folder


@pytest.fixture(scope="module")
def engine(programs, model, tmp_path_factory) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(programs, tmp_path_factory.mktemp("engine") / "log").open(model)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def lm(engine) -> EngineLM:
    return EngineLM(engine)


@pytest.fixture(scope="module")
def hf(model) -> EngineLM:
    return EngineLM(TransformersEngine(model, dtype="float32", batch_size=8, device="cpu"))


@pytest.fixture(scope="module")
def theirs(model):
    """lm-eval's own class for transformers."""
    return get_model("hf")(pretrained=str(model), dtype="float32", batch_size=8, max_length=4096, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, str]:
    return make_hub(tmp_path_factory.mktemp("hub"))


def tokens(source: random.Random, count: int) -> list[int]:
    return [source.randrange(3, 390) for _ in range(count)]


# ---- the same as transformers


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("entry", MINIATURE, ids=lambda entry: entry["task"])
def test_the_miniatures_choices(lm, hf, world, entry, chat):
    lookup = Lookup([world / "eu" / "tasks"])
    assert same(asked(lm, lookup, entry, chat), asked(hf, lookup, entry, chat), "acc", within=1e-4) >= 16


@pytest.mark.parametrize("task", ["mini_translation_en_eu", "mini_ifeval_eu"])
def test_the_miniatures_greedy_answers(lm, hf, world, task):
    lookup = Lookup([world / "eu" / "tasks"])
    entry = {"task": task, "generation": {**GREEDY, "until": ["\n", "a"]}}
    ours, others = (asked(one, lookup, entry) for one in (lm, hf))
    assert [sample["arguments"] for sample in ours] == [sample["arguments"] for sample in others]
    assert [sample["resps"] for sample in ours] == [sample["resps"] for sample in others]
    assert [note.answers for note in lm.notes.values()] == [note.answers for note in hf.notes.values()]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["task"])
def test_real_tasks(lm, hf, data, entry):
    if "generation" in entry:
        entry = {**entry, "generation": {**entry["generation"], **GREEDY, "max_gen_toks": 4}}
    lookup = Lookup(datasets=data)
    ours, others = (asked(one, lookup, entry, chat=False) for one in (lm, hf))
    assert same(ours, others, entry["metric"], within=1e-4) or "generation" in entry


def test_versions_and_device(engine):
    assert engine.versions["vllm"].startswith("0.")
    assert engine.versions.keys() == {"vllm", "torch", "transformers"}
    assert engine.device.startswith("cpu")
    assert engine.max_length == 4096


# ---- one request per document


@pytest.mark.parametrize(("chat", "requests"), [(True, 50), (False, 100)])
def test_fifty_documents_with_four_letters_are_fifty_requests(lm, engine, theirs, tmp_path, chat, requests):
    """Without a chat template, letters follow a blank. In this small vocabulary, only some are one
    token with it.
    """
    lookup, entry = Lookup([write_letters(tmp_path)]), {"task": "letters", "fewshot": 5}
    ours = asked(lm, lookup, entry, chat)
    assert (engine.counts["requests"], engine.counts["again"]) == (requests, 0)
    assert same(ours, asked(theirs, lookup, entry, chat), "acc", within=1e-5) == 200


def choices() -> list[Scoring]:
    """Documents of many lengths with choices of several tokens; some share their beginning, so that
    cached tokens reach into it.
    """
    source = random.Random(1)
    found = []
    for _ in range(40):
        beginning = tokens(source, source.choice([0, 0, 3, 150, 300]))
        endings = [tokens(source, source.randrange(1, 40)) for _ in range(3)]
        found.append(Scoring(tokens(source, source.randrange(1, 600)), [beginning + own for own in endings]))
    return found


def test_choices_of_several_tokens(engine, hf):
    requests = choices()
    ours, others = engine.score(requests), hf.engine.score(requests)
    assert engine.counts["requests"] > 120, "no request was asked again"
    assert engine.counts["cached"] > 0.2 * engine.counts["tokens"]
    for mine, other in zip(itertools.chain(*ours), itertools.chain(*others), strict=True):
        assert mine[0] == pytest.approx(other[0], abs=1e-5 * max(1, abs(other[0]) / 10))
        assert mine[1] == other[1]
    assert engine.score(requests[::-1])[::-1] == [
        [(pytest.approx(value, abs=1e-4), greedy) for value, greedy in own] for own in ours
    ]


def test_greedy_choices(engine, hf):
    """A choice that is what the model would write, and the same but for one token."""
    context = tokens(random.Random(2), 100)
    greedy: list[int] = []
    for _ in range(3):
        scores = hf.engine.score([Scoring(context + greedy, [[token] for token in range(390)])])[0]
        greedy.append(next(token for token, (_, best) in enumerate(scores) if best))
    for beginning in range(3):
        other = greedy.copy()
        other[beginning] = (greedy[beginning] + 1) % 390
        found = engine.score([Scoring(context, [greedy, other, greedy[:2]])])[0]
        assert [best for _, best in found] == [True, False, beginning == 2 or True]


def test_more_last_tokens_than_vllm_takes_in_one_request(engine, hf):
    request = Scoring(tokens(random.Random(3), 50), [[7, token] for token in range(3, 203)])
    (ours,), (others,) = engine.score([request]), hf.engine.score([request])
    assert engine.counts["requests"] >= 2
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in others], abs=1e-5)


def test_the_longest_prompt(engine, hf):
    source = random.Random(4)
    requests = [
        Scoring(tokens(source, 4096), [[5], [6]]),
        Scoring(tokens(source, 4094), [tokens(source, 3) for _ in range(2)]),
    ]
    for ours, others in zip(engine.score(requests), hf.engine.score(requests), strict=True):
        assert [value for value, _ in ours] == pytest.approx([value for value, _ in others], abs=1e-4)


# ---- a seed per document


def questions(seeds: range) -> list[Generating]:
    source = random.Random(5)
    return [
        Generating(tokens(source, source.randrange(5, 80)), ["\n\n"], 40, 0.6, 0.9, 50 * (seed % 2), seed)
        for seed in seeds
    ]


def test_answers_do_not_depend_on_order_or_on_what_else_is_asked(engine):
    asked = questions(range(100, 124))
    answers = engine.generate(asked)
    assert engine.generate(asked[::-1])[::-1] == answers
    assert engine.generate(asked[::3]) == answers[::3]
    assert engine.generate(asked[:1]) == answers[:1]
    assert engine.generate(questions(range(200, 224))) != answers


def test_answers_to_different_prompts_are_independent(engine, world):
    lm = EngineLM(engine)
    entry = {"task": "mini_ifeval_eu", "generation": {"temperature": 2, "top_p": 1, "top_k": 0, "max_gen_toks": 60}}
    samples = [asked(lm, Lookup([world / "eu" / "tasks"]), entry, seed=seed) for seed in (21, 22, 23, 24)]
    answers = [sample["resps"][0][0] for own in samples for sample in own]
    # A random model writes broken letters, all of which become the same one.
    broken = {*engine.tokenizer("\ufffd", add_special_tokens=False)["input_ids"]}
    texts = engine.tokenizer(answers, add_special_tokens=False)["input_ids"]
    places = [
        (a, b)
        for one, other in itertools.combinations(texts, 2)
        for a, b in zip(one, other, strict=False)
        if not {a, b} & broken
    ]
    assert len(places) > 500
    assert sum(a == b for a, b in places) < 0.02 * len(places)


def test_an_answer_ends_where_it_does_with_transformers(engine, hf):
    """At a stop string, at a special token that was named as one, or at its limit."""
    source = random.Random(6)
    prompts = [tokens(source, 20) for _ in range(12)]
    (plain, *_) = (hf.engine.generate([Generating(prompt, [], 30, 0, 1, 0, None) for prompt in prompts]),)
    # Not a broken letter: while one is written, its bytes look like others.
    stops = [answer.text[4:6] if "\ufffd" not in answer.text[4:6] else "" for answer in plain]
    assert sum(map(bool, map(str.strip, stops))) >= 3
    special = engine.tokenizer.convert_ids_to_tokens(engine.tokenizer.all_special_ids[0])
    asked = [
        Generating(prompt, [stop, special] if stop.strip() else [special], 30, 0, 1, 0, None)
        for prompt, stop in zip(prompts, stops, strict=True)
    ]
    ours = engine.generate(asked)
    assert ours == hf.engine.generate(asked)
    assert {answer.finished for answer in ours} >= {True}
