"""Training a byte-level BPE tokenizer with a chat template.

Encoding and decoding is lossless for any text in any language: the vocabulary has all 256 bytes,
nothing is normalised and no space is added. Each digit is a token. The same corpora give the same
tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from langmerge.training.lines import read_lines

BOS, EOS, PAD, TURN, TURN_END = SPECIAL_TOKENS = ["<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]

SMALLEST = len(SPECIAL_TOKENS) + 256
"""The least number of tokens: the special ones and all bytes."""

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
"""ChatML. Supervised tuning takes the loss on the text between the generation marks.

That is an answer and its <|im_end|>.
"""


def texts(corpora: list[Path]) -> Iterator[str]:
    """Every document's text and every message's content.

    Raises:
        UserError: a corpus is missing or empty, or a line is neither a document nor a conversation.
    """
    for path in corpora:
        for record in read_lines(path):
            if "text" in record:
                yield record["text"]
            else:
                yield from (message["content"] for message in record["messages"])


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of at most `vocab_size` tokens, of which the first five are special.

    It has fewer where the texts have too few pairs to merge.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B:1", special_tokens=[(BOS, bpe.token_to_id(BOS))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[TURN, TURN_END],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
