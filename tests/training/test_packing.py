"""From JSON lines to training sequences: packing, labels and shares."""

from __future__ import annotations

import numpy as np

from langmerge.training.data import IGNORED, Mixture, pack_corpus, write_sequences
from support.corpora import CHATS, LENGTH, TEXTS, write


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
