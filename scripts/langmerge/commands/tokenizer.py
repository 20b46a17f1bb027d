"""Train a byte-level BPE tokenizer with a chat template on JSON lines of text or conversations.

OUTPUT becomes a folder that transformers' AutoTokenizer loads. Encoding and decoding is lossless
for any text in any language: the vocabulary has all 256 bytes, nothing is normalised and no space
is added. Each digit is a token. The same corpora give the same bytes.

The tokenizer puts <|bos|> before a document, as Llama's does, and training puts <|eos|> after it.
A turn of a chat ends with <|im_end|>. The chat template writes <|bos|> itself, so its text must be
tokenised without special tokens, as apply_chat_template and lm-eval do.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from langmerge.errors import UserError
from langmerge.files import new_directory
from langmerge.offline import go_offline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the tokenizer's folder, replaced if it exists")
    parser.add_argument(
        "corpora", type=Path, nargs="+", metavar="CORPUS.jsonl", help='lines {"text": ...} or {"messages": [...]}'
    )
    parser.add_argument(
        "--vocab-size", type=int, default=2048, metavar="N", help="tokens, at least 261 (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    # Imported late: transformers takes seconds, and --help should not.
    go_offline()
    from langmerge.training.tokenizer import SMALLEST, SPECIAL_TOKENS, texts, train_tokenizer

    if options.vocab_size < SMALLEST:
        raise UserError(
            f"--vocab-size {options.vocab_size}: at least {SMALLEST} are needed, for 256 bytes and "
            f"{len(SPECIAL_TOKENS)} special tokens."
        )

    tokenizer = train_tokenizer(texts(options.corpora), options.vocab_size)
    if len(tokenizer) < options.vocab_size:
        print(
            f"The corpora are too small for {options.vocab_size} tokens; the tokenizer has {len(tokenizer)}.",
            file=sys.stderr,
        )
    with new_directory(options.output) as folder:
        tokenizer.save_pretrained(folder)
