"""Recipes, corpora and models that training refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from langmerge.commands import train as command
from langmerge.errors import UserError
from support.commands import call


def refuse(output: Path, recipe: dict, message: str) -> None:
    """The command refuses the recipe with this message and writes nothing."""
    with pytest.raises(UserError, match=message):
        call(command, output, "--threads", 1, "--recipe", "# recipe\n" + yaml.safe_dump(recipe))
    assert not output.exists() and not list(output.parent.glob(f".{output.name}*"))


CHANGES = [
    ({"lerning_rate": 1}, r"'lerning_rate' was unexpected.*learning_rate"),
    ({"steps": 0}, r"steps: 0 is less than the minimum"),
    ({"learning_rate": "1e-3"}, r"learning_rate: YAML reads 1e-3 as text\. Write 1\.0e-3"),
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
