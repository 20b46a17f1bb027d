"""The tokenizer: lossless, reproducible, with a chat template that marks the assistant's turns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lm_eval.models.huggingface import HFLM
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from langmerge.commands import tokenizer as command
from langmerge.errors import UserError
from support.commands import call

TEXTS = ["Kaixo mundua, gaur astelehena da.", "Hello world, today is Monday.", "Ola mundo, hoxe é luns: 2024."] * 20
CHAT = [
    {"role": "user", "content": "Kaixo! \n"},
    {"role": "assistant", "content": "  Bai,\n"},
    {"role": "user", "content": "Zer?"},
    {"role": "assistant", "content": "2024"},
]


def make(folder: Path, *options: str, lines: list | None = None) -> Path:
    corpus = folder / "it's a corpus ñ.jsonl"
    lines = lines if lines is not None else [*({"text": text} for text in TEXTS), {"messages": CHAT}]
    corpus.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    call(command, folder / "tokenizer", corpus, *options)
    return folder / "tokenizer"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(make(tmp_path_factory.mktemp("tokenizer"), "--vocab-size", "320"))


@pytest.mark.parametrize(
    "text",
    ["Kaixo  mundua\n\n\tbai ", "ŵyth ñandú l·l", "中文 Ж नमस्ते 👩‍👩‍👧", " can't , x . 1988(e)ko", "\u00e9 e\u0301"],
)
def test_encoding_and_decoding_loses_nothing(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_the_vocabulary_has_all_bytes_and_the_wanted_size(tokenizer):
    assert len(tokenizer) == 320
    assert {*pre_tokenizers.ByteLevel.alphabet()} <= {*tokenizer.get_vocab()}
    assert tokenizer.unk_token is None
    assert [len(tokenizer.tokenize(text)) for text in ("1", "12", "1988")] == [1, 2, 4]


def test_a_document_starts_with_one_bos_and_so_does_a_chat(tokenizer):
    bos = tokenizer.bos_token_id
    assert tokenizer("Kaixo").input_ids.count(bos) == 1 and tokenizer("Kaixo").input_ids[0] == bos
    chat = tokenizer.apply_chat_template(CHAT, return_dict=True)["input_ids"]
    assert chat.count(bos) == 1 and chat[0] == bos


def test_the_chat_template_marks_the_answers_and_their_ends(tokenizer):
    encoded = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    said = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(said) == "  Bai,\n<|im_end|>2024<|im_end|>"
    prompt = tokenizer.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|bos|><|im_start|>user\nKaixo! \n<|im_end|>\n<|im_start|>assistant\n"


def test_lm_eval_tokenizes_as_training_does(tokenizer):
    """One bos before plain text and before a chat, whichever function lm-eval uses."""
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=320,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        )
    )
    harness = HFLM(pretrained=model, tokenizer=tokenizer, device="cpu")
    prompt = harness.apply_chat_template(CHAT[:1])
    assert harness.tok_encode("Kaixo") == tokenizer("Kaixo").input_ids
    expected = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert harness.tok_encode(prompt) == expected
    assert harness.tok_batch_encode([prompt])[0][0].tolist() == expected


def test_the_same_corpora_give_the_same_bytes(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        make(folder, "--vocab-size", "300")
    contents = [{path.name: path.read_bytes() for path in (folder / "tokenizer").iterdir()} for folder in folders]
    assert contents[0] == contents[1] and "tokenizer.json" in contents[0]


def test_bad_input_is_named(tmp_path):
    with pytest.raises(UserError, match="at least 261"):
        make(tmp_path, "--vocab-size", "200")
    with pytest.raises(UserError, match=r"it's a corpus ñ.jsonl, line 2: expected"):
        make(tmp_path, lines=[{"text": "bai"}, {"texts": "ez"}])
    with pytest.raises(UserError, match=r"it's a corpus ñ.jsonl: the file is empty"):
        make(tmp_path, lines=[])
    assert not (tmp_path / "tokenizer").exists()
