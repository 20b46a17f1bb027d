"""The fourth step: documents to tokens that training maps into memory.

    tokens/
      train/    shards/00000.bin       the tokens, uint32, little-endian
                shards/00000.idx.npy   where each document starts, and the end; uint64
                meta.json
      held_out/ likewise

A document is what the tokenizer puts first (its BOS, or nothing), the tokens of the text, and
`document_end`. These two come from here alone: a text that spells a special token out has it as
ordinary text. datatrove's DocumentTokenizer writes no BOS and lets texts write special tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from langmerge.corpora.clean import COUNTS
from langmerge.corpora.contamination import DROPPED
from langmerge.corpora.documents import SIZES
from langmerge.corpora.executor import execute, key_of, resumed_directory
from langmerge.corpora.select import HELD_OUT, TRAIN
from langmerge.errors import UserError
from langmerge.files import remove, write_json
from langmerge.tokens import META, SHARDS, tokenizer_hash

TEXTS_AT_ONCE = 512


class DocumentTokenizer:
    """Texts to tokens with a beginning and an end.

    Attributes:
        start: the tokens before a text; end: the token after it.
        vocabulary: the number of tokens that there are.
        hash: which tokenizer it is; the training's tokenizer must have the same.
    """

    def __init__(self, folder: Path, document_end: str) -> None:
        """Load a tokenizer.

        Raises:
            UserError: it is not a fast one, or has no such token.
        """
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if not loaded.is_fast:
            raise UserError(f"{folder}: it has no tokenizer.json. Convert its tokenizer to a fast one.")
        self.tokenizer: Tokenizer = loaded.backend_tokenizer
        self.hash = tokenizer_hash(loaded)
        end = self.tokenizer.token_to_id(document_end)
        if end is None:
            raise UserError(f"{folder}: document_end: the tokenizer has no token {document_end!r}.")
        self.end = end
        self.start = [token for token in loaded("")["input_ids"] if token == loaded.bos_token_id]
        self.vocabulary = len(loaded)
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def encode(self, texts: list[str]) -> Iterator[list[int]]:
        """The tokens of each text, with its beginning and end."""
        for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            yield [*self.start, *encoding.ids, self.end]

    def lengths(self, texts: list[str]) -> Iterator[int]:
        """The number of those tokens."""
        more = len(self.start) + 1
        return (len(encoding) + more for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False))


class ShardWriter(PipelineStep):
    """Tokenises one file of documents: rank n the n-th, into <n>.bin and <n>.idx.npy."""

    type, name = "writer", "tokenise"

    def __init__(
        self, files: list[Path], output: Path, folder: Path, document_end: str, dropped: frozenset[int]
    ) -> None:
        super().__init__()
        self.files = files
        self.output = output
        self.folder = folder
        self.document_end = document_end
        self.dropped = dropped

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        tokenizer = DocumentTokenizer(self.folder, self.document_end)
        starts = [0]
        with (self.output / f"{rank:05d}.bin").open("wb") as shard, pq.ParquetFile(self.files[rank]) as parquet:
            for batch in parquet.iter_batches(TEXTS_AT_ONCE):
                rows = [row for row in batch.to_pylist() if row["hash"] not in self.dropped]
                for tokens in tokenizer.encode([row["text"] for row in rows]):
                    shard.write(np.array(tokens, "<u4").tobytes())
                    starts.append(starts[-1] + len(tokens))
                for size in SIZES:
                    self.stat_update(size, value=sum(row[size] for row in rows))
        np.save(self.output / f"{rank:05d}.idx.npy", np.array(starts, "<u8"))
        self.stat_update("documents", value=len(starts) - 1)
        self.stat_update("tokens", value=starts[-1])


def tokenise(
    selected: Path, output: Path, tokenizer: Path, document_end: str, searched: Path | None, processes: int
) -> dict[str, Any]:
    """Tokenise what `select` wrote.

    Args:
        searched: what the search for items of benchmarks wrote; the documents that it dropped are
            left out.

    Returns:
        The meta.json of each part that has documents.
    """
    known = DocumentTokenizer(tokenizer, document_end)
    dropped = frozenset(np.load(searched / DROPPED).tolist() if searched else ())
    content = json.loads((selected / COUNTS).read_text(encoding="utf-8"))["content"]
    found = {}
    with resumed_directory(output, key_of(content, sorted(dropped), known.hash, known.start, known.end)) as folder:
        for part in (TRAIN, HELD_OUT):
            files = sorted((selected / part).glob("*.parquet"))
            if not files:
                continue
            (folder / part / SHARDS).mkdir(parents=True, exist_ok=True)
            if min(processes, len(files)) > 1:
                os.environ["TOKENIZERS_PARALLELISM"] = "false"  # of threads within each process
            step = ShardWriter(files, folder / part / SHARDS, tokenizer, document_end, dropped)
            (counts,) = execute([step], len(files), processes, folder / "records" / part)
            found[part] = {
                "tokenizer": known.hash,
                "vocabulary": known.vocabulary,
                "document_start": known.start,
                "document_end": known.end,
                **counts,
            }
            write_json(folder / part / META, found[part])
        remove(folder / "records")
    return found
