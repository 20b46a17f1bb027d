"""The chat template of the instruct model on the tokenizer of an adapted one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from support.merging import VOCABULARY, merged, recipe, refused, write_model

START, END, PAD = "<|start|>", "<|end|>", "<|pad|>"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message.role }}: {{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant: {% endif %}"
)
PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def with_tokens(folder: str, seed: int, words: list[str], special: list[str]) -> None:
    """A model with words of its own, and special tokens after them."""
    write_model(Path(folder), seed, vocab_size=VOCABULARY + len(words) + len(special))

    def add(content: dict[str, Any]) -> None:
        tokens = content["model"]["vocab"]
        for word in words:
            tokens[word] = len(tokens)
        content["added_tokens"] = [
            {**PLAIN, "id": len(tokens) + number, "content": token} for number, token in enumerate(special)
        ]

    edit(Path(folder, "tokenizer.json"), add)


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """An instruct model, and an adapted one with two words more, the same special tokens under
    other ids, and no template.
    """
    monkeypatch.chdir(tmp_path)
    with_tokens("instruct", 1, [], [START, END, PAD])
    with_tokens("eu", 2, ["kaixo", "mundua"], [PAD, END, START, "<|own|>"])
    Path("instruct/chat_template.jinja").write_text(TEMPLATE)
    edit(
        Path("instruct/tokenizer_config.json"),
        lambda own: own.update(eos_token=END, pad_token=PAD, bos_token="<|eos|>"),
    )
    ids = {"eos_token_id": [VOCABULARY + 1, 257], "pad_token_id": VOCABULARY + 2, "temperature": 0.6}
    Path("instruct/generation_config.json").write_text(json.dumps(ids))
    edit(Path("instruct/config.json"), lambda own: own.update(eos_token_id=VOCABULARY + 1, pad_token_id=-1))
    Path("eu/chat_template.jinja").unlink()
    return tmp_path


def adapted(**keys) -> dict:
    given = recipe(tokenizer={"source": "eu"}, chat_template_source="instruct", **keys)
    del given["tokenizer_source"]
    return given


def read(name: str) -> Any:
    return json.loads(Path("out", name).read_text())


def test_a_conversation_on_the_adapted_tokenizer(models):
    merged(adapted())
    ours, theirs = (AutoTokenizer.from_pretrained(name) for name in ("out", "instruct"))
    turns = [{"role": "user", "content": "kaixo, abc"}, {"role": "assistant", "content": "bai"}]
    text = ours.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == theirs.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    tokens = ours.tokenize(text)
    assert [token for token in tokens if token.startswith("<|")] == ["<|eos|>", START, END, START, END, START]
    assert ours.convert_tokens_to_ids([PAD, END, START]) == [VOCABULARY + 2, VOCABULARY + 3, VOCABULARY + 4]
    assert (ours.eos_token, ours.pad_token, ours.bos_token) == (END, PAD, "<|eos|>")
    assert read("generation_config.json") == {
        "eos_token_id": [VOCABULARY + 3, 257],
        "pad_token_id": VOCABULARY + 2,
        "temperature": 0.6,
    }
    config = read("config.json")
    assert (config["eos_token_id"], config["pad_token_id"]) == (VOCABULARY + 3, -1)
    assert ours.get_vocab() == AutoTokenizer.from_pretrained("eu").get_vocab()
    assert "those of `instruct`" in Path("out/README.md").read_text()


def test_a_plain_word_becomes_a_special_token(models):
    """Without that, the adapted tokenizer would split it."""

    def as_words(content: dict[str, Any]) -> None:
        content["model"]["vocab"] |= {token["content"]: token["id"] for token in content["added_tokens"]}
        content["added_tokens"] = []

    edit(Path("eu/tokenizer.json"), as_words)
    assert START not in AutoTokenizer.from_pretrained("eu").tokenize(f"{START}a")
    merged(adapted())
    tokenizer = AutoTokenizer.from_pretrained("out")
    assert tokenizer.tokenize(f"{START}a{END}") == [START, "a", END]
    assert tokenizer.convert_tokens_to_ids(START) == VOCABULARY + 4


def test_templates_within_the_settings_and_in_older_files(models):
    """Older tokenizers have their template in tokenizer_config.json and some settings in
    special_tokens_map.json.
    """
    Path("instruct/chat_template.jinja").unlink()
    edit(Path("instruct/tokenizer_config.json"), lambda own: own.update(chat_template=TEMPLATE))
    Path("eu/special_tokens_map.json").write_text(json.dumps({"eos_token": "<|own|>", "sep_token": "<|own|>"}))
    edit(Path("eu/tokenizer_config.json"), lambda own: own.pop("eos_token"))
    Path("eu/chat_template.jinja").write_text("another one")
    merged(adapted())
    assert not {path.name for path in Path("out").iterdir()} & {"chat_template.jinja", "special_tokens_map.json"}
    tokenizer = AutoTokenizer.from_pretrained("out")
    assert (tokenizer.chat_template, tokenizer.eos_token, tokenizer.sep_token) == (TEMPLATE, END, "<|own|>")


def no_template() -> None:
    Path("instruct/chat_template.jinja").unlink()


def without(folder: str, token: str) -> None:
    def change(content: dict[str, Any]) -> None:
        content["added_tokens"] = [own for own in content["added_tokens"] if own["content"] != token]

    edit(Path(folder, "tokenizer.json"), change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_template, ["instruct, the chat_template_source, has no chat template"]),
        (lambda: without("eu", END), ["eu has no embedding of the token '<|end|>', which is eos_token of instruct"]),
        (lambda: without("eu", START), ["a conversation is encoded without <|start|>", "tokenizer: {source: union}"]),
        (
            lambda: edit(Path("instruct/generation_config.json"), lambda own: own.update(eos_token_id=999)),
            ["instruct: eos_token_id is 999, which is no token of its tokenizer"],
        ),
        (Path("instruct/tokenizer.json").unlink, ["instruct has no tokenizer.json"]),
        (
            lambda: edit(Path("eu/tokenizer.json"), lambda own: own["model"]["vocab"].pop("a")),
            ["of the conversation", "it keeps", "Eskerrik sko"],
        ),
    ],
)
def test_what_is_refused(models, change, words):
    change()
    refused(adapted(), *words)


def test_the_template_is_one_of_the_models(models):
    refused({**adapted(), "chat_template_source": "nowhere"}, "chat_template_source is 'nowhere', expected one of")
