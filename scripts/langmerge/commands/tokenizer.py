"""Train a byte-level BPE tokenizer with a chat template on JSON lines of text or conversations.

OUTPUT becomes a folder that transformers' AutoTokenizer loads. Every text of every language can be written with it and read back to the byte: it holds all
256 bytes, normalises nothing, and adds no space. Digits are tokens of their own. The same corpora give the same bytes.

A document starts with <|bos|> (the tokenizer adds it, as Llama's does) and training ends it with <|eos|>; a turn of a chat ends with <|im_end|>.
The chat template writes <|bos|> itself: whoever tokenizes its text adds no special tokens, as apply_chat_template and lm-eval do.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from langmerge.errors import UserError
from langmerge.files import new_directory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the tokenizer's folder, replaced if it exists")
    parser.add_argument(
        "corpora", type=Path, nargs="+", metavar="CORPUS.jsonl", help='lines {"text": ...} or {"messages": [...]}'
    )
    parser.add_argument(
        "--vocab-size", type=int, default=2048, help="tokens in all, at least 261 (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    from langmerge.training.tokenizer import SMALLEST, SPECIAL_TOKENS, texts, train_tokenizer

    if options.vocab_size < SMALLEST:
        raise UserError(
            f"--vocab-size {options.vocab_size}: at least {SMALLEST} are needed, for 256 bytes and {len(SPECIAL_TOKENS)} special tokens."
        )

    tokenizer = train_tokenizer(texts(options.corpora), options.vocab_size)
    if len(tokenizer) < options.vocab_size:
        print(
            f"The corpora are too small for {options.vocab_size} tokens; the tokenizer has {len(tokenizer)}.",
            file=sys.stderr,
        )
    with new_directory(options.output) as folder:
        tokenizer.save_pretrained(folder)
