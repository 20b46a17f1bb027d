"""The third step: which selected documents hold texts of the benchmarks that the run evaluates.

A text of at least `ngram` words is found where a document has `ngram` of its words in a row
(13 as for GPT-3, arXiv 2005.14165, appendix C), a shorter one where a document has all of them in a
row. Words are ICU's, without case. datatrove's decontamination has one length: it finds no text
that is shorter.
"""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from langmerge.corpora.clean import COUNTS
from langmerge.corpora.executor import execute, key_of, resumed_directory
from langmerge.corpora.select import TRAIN
from langmerge.corpora.words import IcuWords
from langmerge.errors import UserError
from langmerge.files import remove, sha256, write_json

REPORT, DROPPED = "report.json", "dropped.npy"

SHORTEST = 5
"""Words of the shortest text that is searched for: shorter ones, such as "yes" or a name, are in
any corpus.
"""

SHOWN = 200
"""Examples in the report."""

EXCERPT = 200
"""Characters of an example."""

REMEMBERED = 1_000_000
"""Words whose numbers are kept in memory."""

BASE = np.uint64(0x9E3779B97F4A7C15)
"""Of the polynomial hash of words in a row, modulo 2^64."""


class Words:
    """Texts as arrays of 64-bit numbers, one per word."""

    def __init__(self, language: str) -> None:
        self.splitter = IcuWords(language)
        self.numbers: dict[str, int] = {}

    def __call__(self, text: str) -> np.ndarray:
        if len(self.numbers) > REMEMBERED:
            self.numbers.clear()
        words = self.splitter.word_tokenize(unicodedata.normalize("NFC", text).casefold())
        return np.array([self.number(word) for word in words if any(map(str.isalnum, word))], np.uint64)

    def number(self, word: str) -> int:
        known = self.numbers.get(word)
        if known is None:
            known = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
            self.numbers[word] = known
        return known


def in_a_row(words: np.ndarray, most: int) -> Iterator[tuple[int, np.ndarray]]:
    """For n = 1 to `most` the hashes of all n words in a row."""
    hashes = np.zeros(len(words), np.uint64)
    for n in range(1, min(most, len(words)) + 1):
        hashes = hashes[: len(words) - n + 1] * BASE + words[n - 1 :]
        yield n, hashes


class Items:
    """What is searched for.

    Attributes:
        names: [task, number] of each item.
        ngram: the most words in a row that are compared.
        hashes: for each number of words the sorted hashes; owners: the items of each hash.
        too_short: of each item whether none of its texts is long enough.
    """

    def __init__(self, file: Path, language: str, ngram: int) -> None:
        self.ngram = ngram
        self.names: list[list[str | int]] = []
        self.too_short: list[bool] = []
        self.owners: dict[tuple[int, int], set[int]] = defaultdict(set)
        words = Words(language)
        with file.open(encoding="utf-8") as lines:
            for number, record in enumerate(map(json.loads, lines)):
                self.names.append([record["task"], record["document"]])
                searched = [row for text in record["texts"] if len(row := words(text)) >= SHORTEST]
                self.too_short.append(not searched)
                for row in searched:
                    length = min(len(row), ngram)
                    for value in dict(in_a_row(row, length))[length].tolist():
                        self.owners[length, value].add(number)
        self.hashes = {
            length: np.array(sorted(value for n, value in self.owners if n == length), np.uint64)
            for length in {n for n, _ in self.owners}
        }

    def found_in(self, words: np.ndarray) -> set[int]:
        """The numbers of the items that are in a document."""
        found: set[int] = set()
        for n, hashes in in_a_row(words, self.ngram):
            if n in self.hashes:
                places = np.searchsorted(self.hashes[n], hashes)
                places[places == len(self.hashes[n])] = 0
                for value in hashes[self.hashes[n][places] == hashes].tolist():
                    found |= self.owners[n, value]
        return found


class Search(PipelineStep):
    """Searches one file of documents: rank n the n-th. Writes {hash, items, text} lines."""

    type, name = "search", "contamination"

    def __init__(self, files: list[Path], items: Path, output: Path, language: str, ngram: int) -> None:
        super().__init__()
        self.files = files
        self.items = items
        self.output = output
        self.language = language
        self.ngram = ngram

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        items, words = Items(self.items, self.language, self.ngram), Words(self.language)
        with (self.output / f"{rank:05d}.jsonl").open("w", encoding="utf-8") as out:
            for batch in pq.ParquetFile(self.files[rank]).iter_batches(1000, columns=["text", "hash"]):
                for row in batch.to_pylist():
                    self.stat_update("documents")
                    found = items.found_in(words(row["text"]))
                    if found:
                        record = {"hash": row["hash"], "items": sorted(found), "text": row["text"][:EXCERPT]}
                        out.write(json.dumps(record, ensure_ascii=False) + "\n")


def search(selected: Path, items: Path, output: Path, corpus: dict[str, Any], processes: int) -> dict[str, Any]:
    """Search the selected documents; write report.json, and dropped.npy with the hashes of those
    that are dropped.

    Args:
        selected: what `select` wrote; items: a file of {task, document, texts} lines.
        corpus: the settings of the corpus.

    Returns:
        The report: documents searched, contaminated and dropped; for each task its items, how many
        were found and how many are too short; examples.

    Raises:
        UserError: there are no items.
    """
    if not items.is_file() or not items.stat().st_size:
        raise UserError(f"{items}: no items of benchmarks. `langmerge corpus items` writes them.")
    language, settings = corpus["language"], corpus["contamination"]
    files = sorted((selected / TRAIN).glob("*.parquet"))
    content = json.loads((selected / COUNTS).read_text(encoding="utf-8"))["content"]
    key = key_of(content, sha256(items), language, settings)
    with resumed_directory(output, key) as folder:
        (folder / "found").mkdir(exist_ok=True)
        step = Search(files, items, folder / "found", language, settings["ngram"])
        (counts,) = execute([step], len(files), processes, folder / "records")
        found = [json.loads(line) for line in lines(sorted((folder / "found").glob("*.jsonl")))]
        known = Items(items, language, settings["ngram"])
        dropped = [record["hash"] for record in found] if settings["action"] == "drop" else []
        report = {
            "ngram": settings["ngram"],
            "action": settings["action"],
            "documents": {"searched": counts["documents"], "contaminated": len(found), "dropped": len(dropped)},
            "tasks": of_tasks(known, {number for record in found for number in record["items"]}),
            "examples": [
                {"text": record["text"], "items": [known.names[number] for number in record["items"]]}
                for record in found[:SHOWN]
            ],
        }
        np.save(folder / DROPPED, np.array(dropped, np.uint64))
        write_json(folder / REPORT, report)
        remove(folder / "found")
        remove(folder / "records")
    return report


def lines(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        yield from file.read_text(encoding="utf-8").split("\n")[:-1]


def of_tasks(items: Items, found: set[int]) -> dict[str, dict[str, int]]:
    """For each task the number of its items, of those that were found, and of those that are too
    short.
    """
    tasks: dict[str, dict[str, int]] = {}
    for number, (task, _) in enumerate(items.names):
        counts = tasks.setdefault(task, {"items": 0, "found": 0, "too_short": 0})
        counts["items"] += 1
        counts["found"] += number in found
        counts["too_short"] += items.too_short[number]
    return tasks
