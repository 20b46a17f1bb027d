"""JSON lines to a tokenised corpus: documents, and conversations with the assistant's labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from langmerge.errors import UserError
from langmerge.files import new_directory, write_json
from langmerge.tokens import META, SHARDS, tokenizer_hash
from langmerge.training.lines import read_lines
from langmerge.training.shards import Labels, Tokens, write_shard

GENERATION_MARK = r"\{%-?\s*generation\s*-?%\}"
"""What transformers looks for in a chat template before it computes the assistant's mask."""

TEMPLATES = {"llama-3.1": "<|eot_id|>", "qwen3": "<|im_end|>", "chatml": "<|im_end|>"}
"""The chat templates that are shipped, in templates/, and how a turn ends in each."""

LINES_AT_ONCE = 1000


def tokenise(folder: Path, corpus: Path, tokenizer: PreTrainedTokenizerBase, end: int, template: str | None) -> None:
    """Write a file of JSON lines as a tokenised corpus; documents and conversations in shards of
    their own.

    Args:
        end: the token after a document.
        template: the chat template of conversations; None for the tokenizer's own.

    Raises:
        UserError: the corpus is missing, empty or malformed, or no token of it has a label.
    """
    size = 0

    def texts() -> Iterator[str]:
        nonlocal size
        for record in read_lines(corpus):
            if "text" in record:
                size += len(record["text"].encode())
                yield record["text"]

    chats = (record["messages"] for record in read_lines(corpus) if "text" not in record)
    with new_directory(folder) as partial:
        (partial / SHARDS).mkdir()
        documents = ((tokens, None) for tokens in encode_texts(texts(), tokenizer, end))
        counts = [write_shard(partial / SHARDS / "documents.bin", documents)]
        counts.append(
            write_shard(partial / SHARDS / "conversations.bin", encode_chats(chats, tokenizer, corpus, template))
        )
        meta = {
            "tokenizer": tokenizer_hash(tokenizer),
            "vocabulary": len(tokenizer),
            "documents": sum(number for number, _ in counts),
            "tokens": sum(tokens for _, tokens in counts),
            "bytes": size,
            "document_end": tokenizer.convert_ids_to_tokens(end),
        }
        write_json(partial / META, meta)


def read_template(name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """A shipped chat template with marks. It is used for training and never saved with the model.

    Raises:
        UserError: the tokenizer lacks the token that ends a turn in it.
    """
    end = TEMPLATES[name]
    if end not in tokenizer.get_vocab():
        raise UserError(
            f"`chat_template`: {name} ends a turn with {end}, which is no token of {tokenizer.name_or_path}. "
            "Name the template of the model's family."
        )
    return (Path(__file__).with_name("templates") / f"{name}.jinja").read_text(encoding="utf-8").rstrip("\n")


def encode_texts(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, end: int) -> Iterator[Tokens]:
    """Tokens of each document: what the tokenizer puts first (bos or nothing), the text, its end."""
    # Some tokenizers put their eos behind every text by themselves.
    has_end = tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id
    for batch in batches(texts):
        for tokens in tokenizer(batch, return_attention_mask=False)["input_ids"]:
            yield [*(tokens[:-1] if has_end else tokens), end]


def encode_chats(
    chats: Iterable[list[dict[str, str]]], tokenizer: PreTrainedTokenizerBase, corpus: Path, template: str | None
) -> Iterator[tuple[Tokens, Labels]]:
    """Tokens and labels of each conversation; only the assistant's turns have labels.

    Raises:
        UserError: there is no chat template, it does not mark the assistant's turns, or it refuses
            a conversation; or no assistant says anything in any of them.
    """
    template, learned = template or tokenizer.chat_template, None
    for batch in batches(chats):
        if not re.search(GENERATION_MARK, template or ""):
            raise UserError(
                f"{corpus}: conversations need a chat template that marks the assistant's turns with "
                f"{{% generation %}} ... {{% endgeneration %}}; that of {tokenizer.name_or_path} does not. "
                f"Name one of {', '.join(TEMPLATES)} as `chat_template` of the recipe, or edit its chat_template.jinja."
            )
        try:
            encoded = tokenizer.apply_chat_template(
                batch, chat_template=template, return_dict=True, return_assistant_tokens_mask=True
            )
        except jinja2.TemplateError as error:
            raise UserError(
                f"{corpus}: the chat template of {tokenizer.name_or_path} refuses a conversation: {error}"
            ) from error
        for tokens, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True):
            learned = learned or any(mask[1:])
            yield tokens, mask
    if learned is False:
        raise UserError(f"{corpus}: nothing to learn from: its conversations have no assistant's turn.")


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of items, long enough for the tokenizer to use all threads."""
    iterator = iter(items)
    while batch := list(islice(iterator, LINES_AT_ONCE)):
        yield batch
