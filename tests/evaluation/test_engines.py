"""Engines: transformers behind our interface says what lm-eval's own class says, and answers depend
on nothing but what is asked.
"""

from __future__ import annotations

import itertools
import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import chat_template_utils

from langmerge.errors import UserError
from langmerge.evaluation import backends
from langmerge.evaluation.engines.batches import in_batches, out_of_memory
from langmerge.evaluation.engines.lm import EngineLM, document_seed, generation
from langmerge.evaluation.engines.protocol import Generating, Scoring
from langmerge.evaluation.engines.sampling import Answer, probabilities
from langmerge.evaluation.engines.transformers import TransformersEngine
from langmerge.evaluation.lookup import Lookup
from support.asking import asked, same, write_letters
from support.hub_data import make_hub
from support.real_tasks import entries
from support.tiny import make_model

CHOICES = ["mini_grammar_eu", "mini_vocabulary_eu", "mini_calendar_eu"]


@pytest.fixture(scope="module")
def model(world) -> Path:
    return world / "model"


@pytest.fixture(scope="module")
def lm(model) -> EngineLM:
    return loaded(model)


def loaded(model: Path, **changes) -> EngineLM:
    return backends.load(model, {"dtype": "float32", "batch_size": 8, "max_length": 4096, "device": "cpu", **changes})


@pytest.fixture(scope="module")
def theirs(model) -> HFLM:
    """lm-eval's own class, with the same settings."""
    return get_model("hf")(pretrained=str(model), dtype="float32", batch_size=8, max_length=4096, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, str]:
    return make_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def letters(tmp_path_factory) -> Path:
    return write_letters(tmp_path_factory.mktemp("letters"))


# ---- the same as lm-eval's own class


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["task"])
def test_real_tasks_are_scored_as_lm_evals_class_scores_them(lm, theirs, data, entry):
    lookup = Lookup(datasets=data)
    ours, others = (asked(one, lookup, entry, chat=False) for one in (lm, theirs))
    compared = same(ours, others, entry["metric"], within=1e-4)
    assert compared or "generation" in entry


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("task", CHOICES)
def test_the_miniatures_tasks_are_scored_as_lm_evals_class_scores_them(lm, theirs, world, task, chat):
    lookup, entry = Lookup([world / "eu" / "tasks"]), {"task": task, "fewshot": 2}
    ours, others = (asked(one, lookup, entry, chat) for one in (lm, theirs))
    assert same(ours, others, "acc", within=1e-4) >= 16


@pytest.mark.parametrize("chat", [True, False])
def test_greedy_answers_are_those_of_lm_evals_class(lm, theirs, world, chat):
    lookup = Lookup([world / "eu" / "tasks"])
    entry = {"task": "mini_translation_en_eu", "generation": {"until": ["\n", "a"], "max_gen_toks": 24}}
    ours, others = (asked(one, lookup, entry, chat) for one in (lm, theirs))
    same(ours, others, "bleu", within=0)


def test_a_rolling_log_likelihood_is_that_of_lm_evals_class(theirs, model):
    texts = [("Kaixo mundua. " * number,) for number in (1, 3, 40)]
    requests = [Instance("loglikelihood_rolling", {}, text, 0, ("t", number, 1)) for number, text in enumerate(texts)]
    ours = loaded(model, max_length=32).loglikelihood_rolling(requests)
    theirs = get_model("hf")(pretrained=str(model), dtype="float32", batch_size=8, max_length=32, device="cpu")
    assert ours == pytest.approx(theirs.loglikelihood_rolling(requests), rel=1e-5)


# ---- one request per document


class Counting:
    """An engine that counts what it is asked."""

    def __init__(self, engine: TransformersEngine) -> None:
        self.engine = engine
        self.tokenizer, self.max_length = engine.tokenizer, engine.max_length
        self.requests: list[Scoring] = []

    def score(self, requests):
        self.requests += requests
        return self.engine.score(requests)


def test_fifty_documents_with_four_letters_are_fifty_requests_and_fifty_rows(lm, theirs, letters, monkeypatch):
    counting = Counting(lm.engine)
    rows = []
    forward = lm.engine.model.forward
    monkeypatch.setattr(
        lm.engine.model, "forward", lambda **given: rows.append(len(given["input_ids"])) or forward(**given)
    )
    entry = {"task": "letters", "fewshot": 5}
    ours = asked(EngineLM(counting), Lookup([letters]), entry)
    assert len(counting.requests) == 50
    assert sum(rows) == 50
    assert {len(request.continuations) for request in counting.requests} == {4}
    assert same(ours, asked(theirs, Lookup([letters]), entry), "acc", within=1e-5) == 200


def separately(model: Path, request: Scoring) -> list[tuple[float, bool]]:
    """Every continuation by itself, in float64."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    found = []
    for continuation in request.continuations:
        ids = torch.tensor([request.context + continuation])
        with torch.no_grad():
            values = network(ids).logits[0, len(request.context) - 1 : -1].log_softmax(-1)
        target = torch.tensor(continuation)
        found.append((float(values.gather(-1, target[:, None]).sum()), bool((values.argmax(-1) == target).all())))
    return found


@pytest.mark.parametrize(
    "continuations",
    [
        [[5, 6, 7], [8, 9], [10], [11, 12, 13, 14, 15]],
        [[5, 6, 7, 8], [5, 6, 9, 10], [5, 6], [5, 6, 7, 8, 9, 10]],  # they share their beginning
        [[5, 6, 7], [5, 6, 8]],  # they differ in the last token only
        [[5, 6], [5, 6]],
        [[5]],
    ],
)
def test_choices_of_several_tokens(lm, model, continuations, monkeypatch):
    requests = [Scoring(list(range(20, 20 + length)), continuations) for length in (1, 3, 30, 7)]
    shared = lm.engine.score(requests)
    monkeypatch.setattr(lm.engine, "shares", False)
    for request, found, apart in zip(requests, shared, lm.engine.score(requests), strict=True):
        for one, other, expected in zip(found, apart, separately(model, request), strict=True):
            assert one == (pytest.approx(expected[0], abs=1e-5), expected[1])
            assert other == (pytest.approx(expected[0], abs=1e-5), expected[1])


def test_the_greedy_continuation_is_known_as_such(lm, model):
    context = list(range(20, 30))
    (answer,) = lm.engine.generate([Generating(context, [], 4, 0.0, 1.0, 0, None)])
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = network.generate(torch.tensor([context]), max_new_tokens=4, do_sample=False)[0, len(context) :].tolist()
    assert answer.text == lm.tokenizer.decode(ids, skip_special_tokens=True)
    other = [*ids[:-1], (ids[-1] + 1) % 100]
    assert [greedy for _, greedy in lm.engine.score([Scoring(context, [ids, other])])[0]] == [True, False]


def test_a_model_with_a_sliding_window_shares_nothing_and_scores_right(world, tmp_path):
    config = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 4}
    make_model(tmp_path / "m", world / "eu" / "corpus.jsonl")
    settings = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**settings, **config}))
    engine = TransformersEngine(tmp_path / "m", dtype="float32", batch_size=2, device="cpu")
    assert not engine.shares
    requests = [Scoring(list(range(20, 20 + length)), [[5, 6, 7], [8, 9]]) for length in (3, 12)]
    for request, found in zip(requests, engine.score(requests), strict=True):
        for one, expected in zip(found, separately(tmp_path / "m", request), strict=True):
            assert one == (pytest.approx(expected[0], abs=1e-5), expected[1])
    asked = [Generating(request.context, [], 6, 0.0, 1.0, 0, None) for request in requests]
    alone = [engine.generate([one])[0] for one in asked]
    assert engine.generate(asked) == alone


# ---- answers depend on nothing but the request


SAMPLED = {
    "task": "mini_ifeval_eu",
    "generation": {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "max_gen_toks": 40},
}


def prompts(lm, number: int) -> list[list[int]]:
    return lm.encode([f"Idatzi {word} {place}" for word, place in zip(range(number), itertools.cycle("abcdefg"))])


def test_a_random_stream_per_document(lm):
    """Answers of a random model to different prompts agree by chance only."""
    asked = [Instance("generate_until", {"id": number}, (f"Idatzi {number}", {**SAMPLED["generation"], "temperature": 1.0, "top_p": 1.0}), 0, ("t", number, 1)) for number in range(40)]  # fmt: skip
    lm.begin(21, {})
    seeds = [document_seed(21, request, 0) for request in asked]
    assert len(set(seeds)) == 40

    def agreement(seeds: list[int]) -> float:
        answers = []
        for request, seed in zip(asked, seeds, strict=True):
            (ids,) = lm.encode([request.args[0]])
            answers.append(Generating(ids, [], 40, 1.0, 1.0, 0, seed))
        texts = [tuple(text) for text in tokens(lm.engine, answers)]
        pairs = list(itertools.combinations(texts, 2))
        return sum(sum(a == b for a, b in zip(x, y, strict=False)) / min(len(x), len(y)) for x, y in pairs) / len(pairs)

    assert agreement(seeds) < 0.02
    assert agreement([21] * 40) > 0.5  # what it is without


def tokens(engine: TransformersEngine, asked: list[Generating]) -> list[list[int]]:
    """The tokens of answers, in the order of their batches, and not their text."""
    kept = []
    original = engine.tokenizer.decode

    class Decoding:
        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def decode(self, ids, **given):
            kept.append(list(ids))
            return original(ids, **given)

    tokenizer = engine.tokenizer
    engine.tokenizer = Decoding()
    try:
        answers = engine.generate(asked)
    finally:
        engine.tokenizer = tokenizer
    assert len(answers) == len(kept)
    return kept


def test_order_subset_and_batch_size_do_not_change_an_answer(lm):
    asked = [
        Generating(ids, ["zz"], 24, 0.7 if number % 3 else 0.0, 0.95, 20 if number % 2 else 0, number)
        for number, ids in enumerate(prompts(lm, 30))
    ]
    answers = lm.engine.generate(asked)
    assert len({answer.text for answer in answers}) > 10
    assert lm.engine.generate(asked[::-1]) == answers[::-1]
    assert lm.engine.generate(asked[::3]) == answers[::3]
    configured = lm.engine.batch_size
    try:
        for size in (1, 7, 64):
            lm.engine.batch_size = size
            assert lm.engine.generate(asked) == answers
    finally:
        lm.engine.batch_size = configured


def test_a_limit_keeps_the_answers_of_the_first_documents(lm, world):
    lookup = Lookup([world / "eu" / "tasks"])
    whole, first = (asked(lm, lookup, SAMPLED, limit=limit) for limit in (None, 2))
    assert [sample["resps"] for sample in first] == [sample["resps"] for sample in whole][:2]
    assert [sample["resps"] for sample in asked(lm, lookup, SAMPLED, seed=2)] != [sample["resps"] for sample in whole]


def test_repeated_answers_to_one_document_have_seeds_of_their_own(lm):
    request = Instance("generate_until", {"a": 1}, ("Idatzi", SAMPLED["generation"]), 0, ("t", 0, 3))
    lm.begin(21, {})
    answers = lm.generate_until([request] * 3)
    assert len(set(answers)) == 3
    assert len(lm.notes["t", 0].answers) == 3


def test_where_an_answer_ends(lm):
    (prompt,) = lm.encode(["Idatzi"])
    whole = lm.engine.generate([Generating(prompt, [], 30, 1.0, 1.0, 0, 5)])[0]
    assert (whole.tokens, whole.finished) == (30, False)
    stop = whole.text[10:12]
    cut = lm.engine.generate([Generating(prompt, ["never there", stop], 30, 1.0, 1.0, 0, 5)])[0]
    assert cut.text == whole.text.split(stop)[0]
    assert cut.finished
    assert cut.tokens < 30
    ends, lm.engine.ends = lm.engine.ends, set(range(len(lm.tokenizer)))
    try:
        empty = lm.engine.generate([Generating(prompt, [], 30, 1.0, 1.0, 0, 5)])[0]
    finally:
        lm.engine.ends = ends
    assert (empty.text, empty.tokens, empty.finished) == ("", 1, True)


def test_a_stop_string_that_is_a_special_token_ends_an_answer_and_other_ones_are_texts(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"unk_token": "<unk>"})  # the number of every text that is no token
    special = tokenizer.convert_tokens_to_ids("<|im_end|>")
    request = Generating([1], ["a\n", "<|im_end|>"], 99, 0.0, 1.0, 0, None)
    for end, finished in (([special], True), (tokenizer.encode("a\n"), True), ([tokenizer.unk_token_id], False)):
        answer = Answer(request, tokenizer, set())
        ids = [*tokenizer.encode("kaixo"), *end]
        assert [answer.add(token) for token in ids] == [False] * (len(ids) - 1) + [finished]
        assert answer.generated().text == "kaixo"
        assert answer.generated().finished == finished


def test_top_k_and_top_p_are_those_that_are_asked_for():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()

    def drawn(**changes) -> list[float]:
        request = Generating([1], [], 1, **{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": 1, **changes})
        return probabilities(logits, [request])[0].tolist()

    assert drawn() == pytest.approx([0.5, 0.3, 0.15, 0.05])
    assert drawn(top_k=2) == pytest.approx([0.625, 0.375, 0, 0])
    assert drawn(top_k=100) == pytest.approx([0.5, 0.3, 0.15, 0.05])
    assert drawn(top_p=0.6) == pytest.approx([0.625, 0.375, 0, 0])
    assert drawn(top_p=0.01) == pytest.approx([1, 0, 0, 0])
    assert drawn(temperature=0.5) == pytest.approx([0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365])


def test_a_sampled_answer_follows_the_models_probabilities(lm, model):
    (prompt,) = lm.encode(["Idatzi"])
    engine, configured = lm.engine, lm.engine.batch_size
    engine.batch_size = 500
    try:
        found = tokens(engine, [Generating(prompt, [], 1, 0.2, 1.0, 3, seed) for seed in range(3000)])
    finally:
        engine.batch_size = configured
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        best = (network(torch.tensor([prompt])).logits[0, -1] / 0.2).topk(3)
    expected = best.values.softmax(-1).tolist()
    assert len({tuple(drawn) for drawn in found}) == 3
    shares = [sum(drawn == [token] for drawn in found) / 3000 for token in best.indices.tolist()]
    assert shares == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"until": "\n"}, {"until": ["\n"], "temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_tokens": 256}),
        ({"do_sample": False, "temperature": 0.7, "max_gen_toks": 9}, {"temperature": 0.0, "max_tokens": 9}),
        ({"do_sample": True, "temperature": 0.7, "top_k": -1}, {"temperature": 0.7, "top_k": 0}),
    ],
)
def test_settings_of_generation_are_complete(settings, expected):
    assert expected.items() <= generation(settings).items()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repetition_penalty": 1.2}, "repetition_penalty: unknown"),
        ({"do_sample": True}, r"do_sample with temperature 0\.0"),
    ],
)
def test_settings_of_generation_that_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        generation(settings)


# ---- prompts


class NextYear(datetime):
    @classmethod
    def now(cls, tz=None):
        today = datetime.now(tz)
        return today.replace(year=today.year + 1, day=min(today.day, 28))


@pytest.mark.parametrize("arguments", [{}, {"date_string": "1 Jan 2020"}])
def test_a_template_that_asks_for_the_date_gets_the_same_one_every_day(model, tmp_path, monkeypatch, arguments):
    """A template as Llama 3.2's."""
    shutil.copytree(model, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    head = "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    tokenizer.chat_template = (
        head + "Today: {{ date_string }} ({{ strftime_now('%A, %H:%M') }})\n" + tokenizer.chat_template
    )
    tokenizer.save_pretrained(tmp_path / "model")
    turns = [{"role": "user", "content": "Kaixo"}]

    def prompt() -> str:
        chat_template_utils._compile_jinja_template.cache_clear()
        lm.begin(1, arguments)
        return lm.apply_chat_template(turns)

    lm = loaded(tmp_path / "model")
    today = prompt()
    plain = lm.tokenizer.apply_chat_template(turns, tokenize=False)
    monkeypatch.setattr(chat_template_utils, "datetime", NextYear)
    chat_template_utils._compile_jinja_template.cache_clear()
    assert lm.tokenizer.apply_chat_template(turns, tokenize=False) != plain  # what it is without
    assert prompt() == today
    assert today.startswith(f"Today: {arguments.get('date_string', '26 Jul 2024')} (Friday, 00:00)")


def test_a_template_that_asks_for_no_date_is_used_as_it_is(lm, theirs):
    turns = [{"role": "user", "content": "Kaixo"}, {"role": "assistant", "content": "Bai"}]
    lm.begin(1, {})
    for last in (turns[:1], turns):
        assert lm.apply_chat_template(last, len(last) == 1) == theirs.apply_chat_template(last, len(last) == 1)


def test_a_model_without_a_chat_template(model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"model has no chat template.*asks 1 turns.*chat_template: false"):
        loaded(tmp_path / "model").apply_chat_template([{"role": "user", "content": "Kaixo"}])


def test_prompts_that_are_cut_are_counted(model, world):
    lookup, entry = Lookup([world / "eu" / "tasks"]), {"task": "mini_grammar_eu", "fewshot": 2}
    lm = loaded(model)
    whole = asked(lm, lookup, entry)
    assert {note.truncated for note in lm.notes.values()} <= {0}
    lengths = {
        sample["doc_id"]: max(len(lm.tok_encode(context + choice)) - 1 for context, choice, *_ in sample["arguments"])
        for sample in whole
    }
    limit = sorted(lengths.values())[len(lengths) // 2]
    short = loaded(model, max_length=limit)
    found = asked(short, lookup, entry)
    cut = {number: short.notes["mini_grammar_eu", number].truncated for number in lengths}
    assert cut == {number: max(length - limit, 0) for number, length in lengths.items()}
    assert 0 < sum(tokens > 0 for tokens in cut.values()) < len(cut)
    theirs = get_model("hf")(pretrained=str(model), dtype="float32", batch_size=8, max_length=limit, device="cpu")
    same(found, asked(theirs, lookup, entry), "acc", within=1e-4)


def test_prompts_of_written_answers_that_are_cut_are_counted(model, world):
    lookup, entry = (
        Lookup([world / "eu" / "tasks"]),
        {"task": "mini_translation_en_eu", "generation": {"max_gen_toks": 4}},
    )
    whole = asked(loaded(model), lookup, entry)
    lm = loaded(model)
    lengths = {sample["doc_id"]: len(lm.tok_encode(sample["arguments"][0][0])) for sample in whole}
    room = sorted(lengths.values())[1]
    short = loaded(model, max_length=room + 4)
    asked(short, lookup, entry)
    cut = {number: short.notes["mini_translation_en_eu", number].truncated for number in lengths}
    assert cut == {number: max(length - room, 0) for number, length in lengths.items()}
    assert 0 < sum(tokens > 0 for tokens in cut.values()) < len(cut)


@pytest.mark.parametrize(
    ("entry", "max_length", "message"),
    [
        ({"task": "mini_translation_en_eu"}, 40, r"answers of 48 tokens .* max_length is 40"),
        ({"task": "mini_grammar_eu"}, 2, r"a choice of \d+ tokens cannot be scored; it must have 1 to 2"),
    ],
)
def test_what_cannot_fit_is_refused_with_its_numbers(model, world, entry, max_length, message):
    with pytest.raises(UserError, match=message):
        asked(loaded(model, max_length=max_length), Lookup([world / "eu" / "tasks"]), entry, chat=False)


# ---- batches


def test_batches_are_halved_where_memory_runs_out_and_nothing_is_done_twice(caplog):
    done = []

    def work(batch: list[int]) -> list[int]:
        if len(batch) > 3:
            raise MemoryError
        done.extend(batch)
        return [10 * number for number in batch]

    assert in_batches(range(20), 16, lambda number: -number, work, "x") == [10 * number for number in range(20)]
    assert done == list(range(19, -1, -1))
    assert [record.message for record in caplog.records] == [
        f"out of memory with batches of {size}; continuing with {size // 2}" for size in (16, 8, 4)
    ]


def test_what_is_out_of_memory_and_what_is_not():
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        in_batches([1, 2], 2, str, lambda batch: (_ for _ in ()).throw(RuntimeError("shapes")), "x")
