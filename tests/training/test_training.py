"""Training: packing, labels and shares, reproducibility, resumption, and refusals of bad recipes."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from langmerge import cli
from langmerge.commands import train as command
from langmerge.errors import UserError
from langmerge.training import loop
from langmerge.training.data import IGNORED, Mixture, pack_corpus, write_sequences
from langmerge.training.recipe import complete
from langmerge.training.tokenizer import train_tokenizer
from support.commands import call

TEXTS = [
    f"{day} eta {other}, {number} egun."
    for day in ("astelehena", "asteartea", "larunbata")
    for other in ("gaur", "atzo")
    for number in range(30)
]
CHATS = [
    [
        {"role": "user", "content": f"Copy {number}."},
        {"role": "assistant", "content": f"The {number}"},
        {"role": "user", "content": "Again?"},
        {"role": "assistant", "content": f"{number}!"},
    ]
    for number in range(40)
]
LENGTH = 64

ODD = 'it\'s a "small" wörld'
"""Part of the paths of every corpus, tokenizer and model that these tests train with."""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with a tokenizer, text.jsonl and chats.jsonl."""
    folder = tmp_path_factory.mktemp("world") / ODD
    folder.mkdir()
    train_tokenizer(iter(TEXTS), 320).save_pretrained(folder / "tokenizer")
    write(folder / "text.jsonl", [{"text": text} for text in TEXTS])
    write(folder / "chats.jsonl", [{"messages": chat} for chat in CHATS])
    return folder


@pytest.fixture(scope="module")
def tokenizer(world):
    return AutoTokenizer.from_pretrained(world / "tokenizer")


@pytest.fixture
def recipe(world) -> dict:
    """A new, tiny model."""
    return {
        "init": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        "tokenizer": str(world / "tokenizer"),
        "data": {str(world / "text.jsonl"): 1},
        "sequence_length": LENGTH,
        "steps": 6,
        "batch_size": 4,
        "learning_rate": 0.01,
        "dtype": "float32",
    }


@pytest.fixture(scope="module")
def base(world, tmp_path_factory) -> Path:
    """A model trained on text for a few steps."""
    folder = tmp_path_factory.mktemp("base") / ODD / "base"
    loop.train(
        folder,
        complete(
            {
                "init": {
                    "model_type": "llama",
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                },
                "tokenizer": str(world / "tokenizer"),
                "data": {str(world / "text.jsonl"): 1},
                "sequence_length": LENGTH,
                "steps": 20,
                "batch_size": 8,
                "learning_rate": 0.01,
            }
        ),
        threads=1,
        key="0123abcd",
    )
    return folder


def write(path: Path, lines: list) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path


def run(folder: Path, recipe: dict) -> bytes:
    """Train and return the weights' file."""
    loop.train(folder, complete(recipe), threads=1)
    return (folder / "model.safetensors").read_bytes()


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((folder / "metrics.json").read_text())["history"]]


# ---- what is learned


def test_packing_loses_no_text_and_labels_every_token(world, tokenizer):
    packed = list(pack_corpus(world / "text.jsonl", tokenizer, LENGTH))
    assert all(tokens == labels for tokens, labels in packed)
    assert {len(tokens) for tokens, _ in packed[:-1]} == {LENGTH}
    documents = tokenizer.decode([token for tokens, _ in packed for token in tokens]).split("<|eos|>")
    assert documents == [*(f"<|bos|>{text}" for text in TEXTS), ""]


def test_only_the_assistants_turns_have_labels_and_conversations_stay_whole(world, tokenizer):
    learned = {}
    packed = list(pack_corpus(world / "chats.jsonl", tokenizer, 128))
    for tokens, labels in packed:
        assert all(label in (token, IGNORED) for token, label in zip(tokens, labels, strict=True))
        starts = [index for index, token in enumerate(tokens) if token == tokenizer.bos_token_id]
        for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
            learned[tokenizer.decode(tokens[start:end])] = tokenizer.decode(
                [label for label in labels[start:end] if label != IGNORED]
            )
    assert learned == {
        tokenizer.apply_chat_template(chat, tokenize=False): f"The {number}<|im_end|>{number}!<|im_end|>"
        for number, chat in enumerate(CHATS)
    }
    assert len(packed) < len(CHATS)


def test_a_long_conversation_is_cut_and_a_file_may_hold_both_kinds(world, tokenizer, tmp_path):
    answer = " ".join(map(str, range(70)))
    chat = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": answer}]
    corpus = write(tmp_path / "both.jsonl", [{"messages": chat}, {"text": "bat bi"}])
    packed = list(pack_corpus(corpus, tokenizer, LENGTH))
    assert tokenizer.decode(packed[0][0]) == "<|bos|>bat bi<|eos|>"
    assert len(packed) > 3 and all(len(tokens) <= LENGTH for tokens, _ in packed)
    learned = tokenizer.decode([label for _, labels in packed[1:] for label in labels if label != IGNORED])
    assert learned == f"{answer}<|im_end|>"


def test_padding_has_no_labels(world, tokenizer, tmp_path):
    write_sequences(tmp_path / "rows", world / "chats.jsonl", tokenizer, 128)
    mixture = Mixture([tmp_path / "rows"], [1], 128, 8, seed=1)
    rows = [mixture[index] for index in range(8)]
    assert any((row["input_ids"] == tokenizer.pad_token_id).any() for row in rows)
    for row in rows:
        assert (row["labels"][row["input_ids"] == tokenizer.pad_token_id] == IGNORED).all()
        assert (row["labels"] != IGNORED).any()


def test_shares_are_exact_and_no_sequence_repeats_before_all_were_used(tmp_path):
    sizes = (10, 500)
    for index, size in enumerate(sizes):
        rows = np.arange(size * 2 * 4, dtype=np.int32).reshape(size, 2, 4) + 10_000 * index
        (tmp_path / str(index)).write_bytes(rows.tobytes())
    mixture = Mixture([tmp_path / "0", tmp_path / "1"], [3, 1], 4, 40, seed=5)
    first = [mixture[index]["input_ids"][0] for index in range(len(mixture))]
    small, large = [x for x in first if x < 10_000], [x for x in first if x >= 10_000]
    assert (len(small), len(large)) == (30, 10)
    assert len(set(large)) == 10
    assert [len(set(small[start : start + 10])) for start in (0, 10, 20)] == [10, 10, 10]
    assert small[:10] != small[10:20]


# ---- training


def test_the_loss_falls_and_the_folder_is_complete(base, world):
    assert losses(base)[-1] < 0.7 * losses(base)[0]
    assert json.loads((base / "config.json").read_text())["dtype"] == "bfloat16"
    assert json.loads((base / "config.json").read_text())["use_cache"] is True
    record = json.loads((base / "langmerge.json").read_text())
    assert record["command"] == "train" and record["recipe"]["warmup_ratio"] == 0.1
    assert record["key"] == "0123abcd"
    assert set(record["sources"]) == {str(world / "text.jsonl"), str(world / "tokenizer" / "tokenizer.json")}
    names = {path.name for path in base.iterdir()}
    assert names == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "langmerge.json",
        "metrics.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert [path.name for path in base.parent.iterdir()] == ["base"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    ends = AutoModelForCausalLM.from_pretrained(base).generation_config.eos_token_id
    assert tokenizer.convert_ids_to_tokens(ends) == ["<|eos|>", "<|im_end|>"]


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_does_not(tmp_path, recipe):
    recipe["dtype"] = "bfloat16"
    first = run(tmp_path / "a", recipe)
    assert run(tmp_path / "b", recipe) == first
    for name in ("config.json", "generation_config.json", "tokenizer.json", "metrics.json", "langmerge.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert run(tmp_path / "c", {**recipe, "seed": 2}) != first


def test_gradient_accumulation_changes_the_memory_not_the_training(tmp_path, recipe):
    run(tmp_path / "whole", recipe)
    run(tmp_path / "parts", {**recipe, "gradient_accumulation": 2})
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "parts"), abs=1e-4)


def test_continued_training_keeps_configuration_tokenizer_and_template(base, world, tmp_path, recipe):
    continued = {key: value for key, value in recipe.items() if key not in ("init", "tokenizer")}
    continued |= {
        "from": str(base),
        "data": {str(world / "chats.jsonl"): 0.5, str(world / "text.jsonl"): 0.5},
        "save_dtype": "bfloat16",
    }
    run(tmp_path / "tuned", continued)
    for name in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "tuned" / name).read_text() == (base / name).read_text(), name
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "tuned" / "model.safetensors")
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in before.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in after.items()
    }
    assert any((before[name] != after[name]).any() for name in before)
    assert str(base / "model.safetensors") in json.loads((tmp_path / "tuned" / "langmerge.json").read_text())["sources"]


# ---- killed


def test_a_terminated_training_leaves_nothing(tmp_path, recipe, environment, monkeypatch):
    """In this process: to load torch in another one takes longer than the test."""
    before = signal.getsignal(signal.SIGTERM)
    steps = []

    def terminate(*_: object, **__: object) -> None:
        steps.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.StopIfDiverged, "on_step_end", terminate)
    try:
        with pytest.raises(SystemExit) as exit:
            cli.main(["train", str(tmp_path / "model"), "--threads", "1", "--recipe", json.dumps(recipe)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert exit.value.code == 143 and steps == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_killed_training_resumes_from_its_checkpoint_to_the_same_weights(tmp_path, recipe, monkeypatch):
    recipe |= {"steps": 300, "save_every": 20}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "langmerge",
            "train",
            tmp_path / "model",
            "--recipe",
            json.dumps(recipe),
            "--threads",
            "1",
        ],
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 90
    while not list(tmp_path.glob(".model.checkpoints-*/checkpoint-*/trainer_state.json")):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    process.kill()
    assert process.wait(timeout=30) == -signal.SIGKILL
    found, last_checkpoint = [], loop.last_checkpoint
    monkeypatch.setattr(loop, "last_checkpoint", lambda folder: found.append(last_checkpoint(folder)) or found[-1])
    resumed = run(tmp_path / "model", recipe)
    assert int(found[0].rpartition("-")[2]) >= 20
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert resumed == run(tmp_path / "uninterrupted", recipe)
    assert found[1] is None


# ---- no network


@pytest.fixture
def environment(monkeypatch) -> None:
    """No variable that turns the hub off; what the test sets is undone."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


def test_the_command_turns_the_hub_off_before_it_loads_anything(tmp_path, recipe, environment, monkeypatch):
    seen = []
    fake = SimpleNamespace(train=lambda *arguments: seen.append((arguments, os.environ["HF_HUB_OFFLINE"])))
    monkeypatch.setitem(sys.modules, "langmerge.training.loop", fake)
    monkeypatch.setattr("langmerge.training.loop", fake, raising=False)
    call(command, tmp_path / "model", "--key", "0123abcd", "--threads", 2, "--recipe", json.dumps(recipe))
    assert seen == [((tmp_path / "model", complete(recipe), 2, "0123abcd"), "1")]


def test_an_import_sets_no_variable(environment):
    before = dict(os.environ)
    importlib.reload(loop)
    assert os.environ == before


# ---- bad input


def refuse(output: Path, recipe: dict, message: str) -> None:
    """The command refuses the recipe with this message and writes nothing."""
    with pytest.raises(UserError, match=message):
        call(command, output, "--threads", 1, "--recipe", "# recipe\n" + yaml.safe_dump(recipe))
    assert not output.exists() and not list(output.parent.glob(f".{output.name}*"))


CHANGES = [
    ({"lerning_rate": 1}, r"'lerning_rate' was unexpected.*learning_rate"),
    ({"steps": 0}, r"steps: 0 is less than the minimum"),
    ({"learning_rate": "1e-3"}, r"learning_rate: '1e-3' is not of type 'number'.*1.0e-5"),
    ({"learning_rate": float("nan")}, r"learning_rate: nan is not a finite number"),
    ({"from": "somewhere"}, r"either `from`.*found both"),
    ({"init": None}, r"either `from`.*found neither"),
    ({"tokenizer": None}, r"`init` and `tokenizer` go together"),
    ({"tokenizer": "nowhere"}, r"`tokenizer`: nowhere: no such folder"),
    ({"init": {"model_type": "lama"}}, r"`init.model_type`: 'lama'"),
    ({"init": {"model_type": "llama", "hiden_size": 8}}, r"`init`: hiden_size is not a setting of llama"),
    ({"init": {"model_type": "llama", "vocab_size": 8}}, r"`init`: vocab_size must be left out"),
    ({"init": {"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4}}, r"`init`: llama cannot be built"),
    ({"sequence_length": 4096}, r"`sequence_length`: 4096 is more than the model's max_position_embeddings, 2048"),
    ({"batch_size": 5, "gradient_accumulation": 2}, r"`batch_size`: 5 sequences cannot be divided"),
]


@pytest.mark.parametrize(
    ("change", "message"), CHANGES, ids=[next(iter(change)) + str(i) for i, (change, _) in enumerate(CHANGES)]
)
def test_a_bad_recipe_is_refused(tmp_path, recipe, change, message):
    changed = {key: value for key, value in {**recipe, **change}.items() if value is not None}
    refuse(tmp_path / "model", changed, message)


@pytest.mark.parametrize("share", [0, -1, float("nan"), "much"])
def test_a_share_that_is_not_above_zero_is_refused(tmp_path, recipe, world, share):
    recipe["data"] = {str(world / "text.jsonl"): 1, str(world / "chats.jsonl"): share}
    refuse(tmp_path / "model", recipe, r"data.*chats.jsonl: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"bad.jsonl: no such file"),
        ("", r"bad.jsonl: the file is empty"),
        ('{"text": "bat"}\n{"txt": "bi"}\n', r"bad.jsonl, line 2: expected.*found keys \['txt'\]"),
        ('{"text": "bat"}\n\n{"text": "bi"\n', r"bad.jsonl, line 3: not JSON"),
        ('{"messages": [{"role": "user"}]}\n', r"bad.jsonl, line 1: expected"),
        ('{"messages": [{"role": "user", "content": "bat"}]}\n', r"bad.jsonl: nothing to learn"),
    ],
)
def test_a_bad_corpus_is_named(tmp_path, recipe, content, message):
    corpus = tmp_path / "bad.jsonl"
    if content is not None:
        corpus.write_text(content)
    refuse(tmp_path / "model", {**recipe, "data": {str(corpus): 1}}, message)


def test_conversations_need_a_template_that_marks_the_assistants_turns(tmp_path, recipe, world):
    shutil.copytree(world / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    changed = {**recipe, "tokenizer": str(tmp_path / "tokenizer"), "data": {str(world / "chats.jsonl"): 1}}
    refuse(tmp_path / "model", changed, r"chats.jsonl: conversations need a chat template that marks")


def test_a_checkpoint_must_be_whole_and_fit_its_tokenizer(tmp_path, recipe, base):
    continued = {key: value for key, value in recipe.items() if key not in ("init", "tokenizer")}
    refuse(tmp_path / "model", {**continued, "from": "nowhere"}, r"`from`: nowhere: no such folder")
    shutil.copytree(base, tmp_path / "weightless")
    (tmp_path / "weightless" / "model.safetensors").unlink()
    refuse(
        tmp_path / "model",
        {**continued, "from": str(tmp_path / "weightless")},
        r"`from`: .*weightless holds no checkpoint",
    )
    shutil.copytree(base, tmp_path / "misfit")
    larger = AutoTokenizer.from_pretrained(base)
    larger.add_tokens(["<|new|>"])
    larger.save_pretrained(tmp_path / "misfit")
    refuse(
        tmp_path / "model",
        {**continued, "from": str(tmp_path / "misfit")},
        r"the tokenizer has \d+ tokens, the model's vocab_size is \d+",
    )


def test_a_training_that_diverges_writes_nothing(tmp_path, recipe):
    refuse(tmp_path / "model", {**recipe, "learning_rate": 1e38, "warmup_ratio": 0}, r"the training diverged")
