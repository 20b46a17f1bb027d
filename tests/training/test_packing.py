"""From JSON lines to training sequences: tokens, labels, packing and shares."""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, set_seed

from langmerge.corpora.select import TRAIN
from langmerge.corpora.tokenise import tokenise as tokenise_corpus
from langmerge.errors import UserError
from langmerge.tokens import tokenizer_hash
from langmerge.training.data import encode_chats, read_template, tokenise
from langmerge.training.loop import train
from langmerge.training.packing import IGNORED, Form, Mixture, Sequences
from langmerge.training.recipe import complete
from langmerge.training.sharding import Objective
from langmerge.training.shards import Corpus, write_shard
from support import own_corpus
from support.corpora import CHATS, LENGTH, TEXTS, write
from support.smollm import smollm


def sequences(folder: Path, corpus: Path, tokenizer, length: int, separate: bool = False) -> Sequences:
    tokenise(folder / "tokens", corpus, tokenizer, tokenizer.eos_token_id, None)
    return Sequences(Corpus(folder / "tokens"), Form(length, separate, tokenizer.pad_token_id))


def rows(found: Sequences) -> list:
    return [found[index] for index in range(len(found))]


def test_packing_loses_no_text_and_labels_every_token(world, tokenizer, tmp_path):
    packed = rows(sequences(tmp_path, world / "text.jsonl", tokenizer, LENGTH))
    real = [row.labels != IGNORED for row in packed]
    assert all((row.tokens[kept] == row.labels[kept]).all() for row, kept in zip(packed, real, strict=True))
    assert all(kept.all() for kept in real[:-1])
    text = tokenizer.decode([token for row, kept in zip(packed, real, strict=True) for token in row.tokens[kept]])
    assert text.split("<|eos|>") == [*(f"<|bos|>{text}" for text in TEXTS), ""]


def test_four_bytes_a_token_and_what_is_counted(world, tokenizer, tmp_path):
    tokenise(tmp_path / "tokens", world / "text.jsonl", tokenizer, tokenizer.eos_token_id, None)
    corpus = Corpus(tmp_path / "tokens")
    size = sum(path.stat().st_size for path in (tmp_path / "tokens").rglob("*.bin"))
    assert size == 4 * corpus.meta["tokens"]
    assert (corpus.meta["documents"], corpus.meta["bytes"]) == (len(TEXTS), len("".join(TEXTS).encode()))
    with (tmp_path / "tokens" / "shards" / "documents.bin").open("ab") as file:
        file.write(b"1234")
    with pytest.raises(UserError, match=r"documents.bin: [\d,]+ bytes, but its index ends"):
        Corpus(tmp_path / "tokens")


def test_a_sequence_goes_over_the_ends_of_shards(tmp_path, tokenizer, world):
    tokenise(tmp_path / "tokens", world / "text.jsonl", tokenizer, tokenizer.eos_token_id, None)
    whole = rows(Sequences(Corpus(tmp_path / "tokens"), Form(LENGTH, True, 0)))
    documents = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]
    shards = tmp_path / "tokens" / "shards"
    for path in shards.glob("documents.*"):
        path.unlink()
    # One shard is shorter than a sequence.
    for name, part in (("a", documents[:1]), ("b", documents[1:50]), ("c", documents[50:])):
        write_shard(shards / f"{name}.bin", [(tokens, None) for tokens in part])
    parts = rows(Sequences(Corpus(tmp_path / "tokens"), Form(LENGTH, True, 0)))
    assert len(parts) == len(whole)
    assert all(np.array_equal(one, other) for one, other in zip(parts, whole, strict=True))


def test_only_the_assistants_turns_have_labels_and_conversations_stay_whole(world, tokenizer, tmp_path):
    learned = {}
    packed = rows(sequences(tmp_path, world / "chats.jsonl", tokenizer, 128))
    for row in packed:
        starts = [index for index, token in enumerate(row.tokens) if token == tokenizer.bos_token_id]
        assert all(row.positions[start] == 0 for start in starts)
        for start, end in zip(starts, [*starts[1:], len(row.tokens)], strict=True):
            text = tokenizer.decode([token for token in row.tokens[start:end] if token != tokenizer.pad_token_id])
            learned[text] = tokenizer.decode([label for label in row.labels[start:end] if label != IGNORED])
    assert learned == {
        tokenizer.apply_chat_template(chat, tokenize=False): f"The {number}<|im_end|>{number}!<|im_end|>"
        for number, chat in enumerate(CHATS)
    }
    assert len(packed) < len(CHATS)


def test_a_long_conversation_is_cut_and_a_file_may_hold_both_kinds(world, tokenizer, tmp_path):
    answer = " ".join(map(str, range(70)))
    chat = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": answer}]
    corpus = write(tmp_path / "both.jsonl", [{"messages": chat}, {"text": "bat bi"}])
    packed = rows(sequences(tmp_path, corpus, tokenizer, LENGTH))
    first = packed[0].tokens[packed[0].tokens != tokenizer.pad_token_id]
    assert tokenizer.decode(first) == "<|bos|>bat bi<|eos|>"
    assert len(packed) > 3
    learned = tokenizer.decode([label for row in packed[1:] for label in row.labels if label != IGNORED])
    assert learned == f"{answer}<|im_end|>"


def test_padding_has_no_labels(world, tokenizer, tmp_path):
    packed = rows(sequences(tmp_path, world / "chats.jsonl", tokenizer, 128))
    assert any((row.tokens == tokenizer.pad_token_id).any() for row in packed)
    for row in packed:
        assert (row.labels[row.tokens == tokenizer.pad_token_id] == IGNORED).all()
        assert (row.labels != IGNORED).any()


def test_shares_are_exact_and_no_sequence_repeats_before_all_were_used():
    small_one, large_one = range(10), range(100, 600)
    mixture = Mixture([small_one, large_one], [3, 1], 40, seed=5)
    first = [mixture[index] for index in range(len(mixture))]
    small, large = [x for x in first if x < 100], [x for x in first if x >= 100]
    assert (len(small), len(large)) == (30, 10)
    assert len(set(large)) == 10
    assert [len(set(small[start : start + 10])) for start in (0, 10, 20)] == [10, 10, 10]
    assert small[:10] != small[10:20]


# ---- documents that do not see each other


@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_packed_documents_logits_and_loss_are_those_of_the_document_alone(
    world, tokenizer, tmp_path, model_type, attention
):
    set_seed(1)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        model_type, vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=16, initializer_range=0.1, **shape
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    row = sequences(tmp_path, world / "text.jsonl", tokenizer, 128, separate=True)[0]
    tokens, labels, positions = (torch.from_numpy(part)[None] for part in row)
    starts = [*np.flatnonzero(row.positions == 0), 128]
    assert len(starts) > 3
    with torch.no_grad():
        head = model.get_output_embeddings()
        packed = head(model.base_model(input_ids=tokens, position_ids=positions, use_cache=False).last_hidden_state)[0]
        alone = [model(tokens[:, start:end]).logits[0] for start, end in pairwise(starts)]
        assert float((packed - torch.cat(alone)).abs().max()) < 1e-5
        # Not by chance: without positions they are others.
        joined = model(tokens, use_cache=False).logits[0]
        assert float((joined - packed).abs().max()) > 1e-3
        ours = Objective(model)(tokens, labels, positions)
        losses = [
            torch.nn.functional.cross_entropy(logits[:-1], tokens[0, start + 1 : end], reduction="sum")
            for logits, start, end in zip(alone, starts[:-1], starts[1:], strict=True)
        ]
        assert float(ours) == pytest.approx(float(sum(losses)), rel=1e-5)


# ---- chat templates that are shipped

SYSTEM = {"role": "system", "content": "You are brief."}
TALK = [SYSTEM, {"role": "user", "content": "Kaixo?"}, {"role": "assistant", "content": "Bai."}]
LONG = [*TALK, {"role": "user", "content": "Zer?"}, {"role": "assistant", "content": "Ez."}]

OF_LLAMA = (
    "<|bos|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    "You are brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nKaixo?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nBai.<|eot_id|>"
)
OF_CHATML = "<|im_start|>system\nYou are brief.<|im_end|>\n<|im_start|>user\nKaixo?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("name", "text", "learned"),
    [
        ("llama-3.1", OF_LLAMA, "Bai.<|eot_id|>"),
        ("chatml", f"{OF_CHATML}Bai.<|im_end|>\n", "Bai.<|im_end|>"),
        ("qwen3", f"{OF_CHATML}<think>\n\n</think>\n\nBai.<|im_end|>\n", "Bai.<|im_end|>"),
    ],
)
def test_a_shipped_template_writes_and_learns_what_it_says(tokenizer, name, text, learned):
    whole = deepcopy(tokenizer)
    whole.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|eot_id|>"]})
    before = whole.chat_template
    template = read_template(name, whole)
    ((tokens, labels),) = encode_chats([TALK], whole, Path("chats.jsonl"), template)
    assert whole.decode(tokens) == text
    assert whole.decode([token for token, label in zip(tokens, labels, strict=True) if label]) == learned
    ((tokens, labels),) = encode_chats([LONG], whole, Path("chats.jsonl"), template)
    end = learned.removeprefix("Bai.")
    assert whole.decode([token for token, label in zip(tokens, labels, strict=True) if label]) == f"Bai.{end}Ez.{end}"
    assert whole.chat_template == before


def test_a_template_of_another_family_is_refused(tokenizer):
    with pytest.raises(UserError, match=r"llama-3.1 ends a turn with <\|eot_id\|>, which is no token"):
        read_template("llama-3.1", tokenizer)


def test_a_model_with_other_special_tokens_can_be_trained_on_the_same_tokens(tokenizer):
    instruct, larger = deepcopy(tokenizer), deepcopy(tokenizer)
    instruct.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    larger.add_tokens(["kaixo"])
    assert tokenizer_hash(instruct) == tokenizer_hash(tokenizer) != tokenizer_hash(larger)


@pytest.mark.smollm
def test_a_joint_training_on_a_real_model_and_its_template(tmp_path):
    """A corpus and conversations at once: of what the model's own template writes, the assistant's
    part is learned, and the model keeps its template.
    """
    chats = write(tmp_path / "chats.jsonl", [{"messages": TALK}, {"messages": LONG}])
    model = smollm()
    end = "<|endoftext|>"
    own_corpus.cleaned(tmp_path / "clean", [own_corpus.write(tmp_path / "text.jsonl", own_corpus.texts(40))])
    own_corpus.selected(tmp_path / "clean", tmp_path / "selected")
    tokenise_corpus(tmp_path / "selected", tmp_path / "tokens", model, end, None, 1)
    recipe = {
        "from": str(model),
        "data": {str(tmp_path / "tokens" / TRAIN): 0.5, str(chats): 0.5},
        "chat_template": "chatml",
        "document_end": end,
        "sequence_length": 64,
        "batch_size": 2,
        "steps": 4,
        "learning_rate": 1e-4,
        "dtype": "float32",
        "save_dtype": "bfloat16",
    }
    train(tmp_path / "joint", complete(recipe), threads=1)
    own = AutoTokenizer.from_pretrained(model)
    ((tokens, _),) = encode_chats([TALK], own, chats, read_template("chatml", own))
    assert tokens == own.apply_chat_template(TALK, return_dict=True)["input_ids"]
    losses = [json.loads(line)["loss"] for line in (tmp_path / "joint" / "history.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    assert AutoTokenizer.from_pretrained(tmp_path / "joint").chat_template == own.chat_template
