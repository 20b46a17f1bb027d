"""How fast a corpus is cleaned and tokenised.

    PYTHONPATH=tests envs/run python tests/benchmarks/bench_corpora.py --mb 50 --processes 2

Cleaning is measured by the clock, tokenising in CPU seconds.

Texts are drawn from the paragraphs of the tests with altered words, 3 kB each: the speed of filters
depends on the length of documents and on how many words are different, hardly on what they say. The
tokenizer is a byte-level BPE of 32,000 tokens that is trained on them.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from langmerge.corpora.tokenise import tokenise
from langmerge.training.tokenizer import EOS, train_tokenizer
from support.own_corpus import cleaned, read, selected, write
from support.texts import PARAGRAPHS

DOLMA = [{"gopher_quality": "dolma"}, {"gopher_repetition": "dolma"}, {"c4": "dolma"}]
DATATROVE = [{"gopher_quality": "datatrove"}, {"gopher_repetition": "datatrove"}]

PROFILES = {
    "dolma's rules": {"filters": DOLMA},
    "language, dolma's rules": {"filters": [{"language": "py3langid"}, *DOLMA]},
    "datatrove's rules": {"filters": DATATROVE},
    "MinHash alone": {"duplicates": "minhash"},
    "dolma's rules, MinHash": {"filters": DOLMA, "duplicates": "minhash"},
    "datatrove's rules, MinHash": {"filters": DATATROVE, "duplicates": "minhash"},
}


def texts(megabytes: float) -> list[str]:
    """Different Basque texts of about 3 kB."""
    draw = random.Random(1)
    stems = PARAGRAPHS["eu"].split()
    endings = ["", "", "", "ak", "aren", "ra", "n", "tik", "rekin", "ko"]
    size, found = 0, []
    while size < megabytes * 1e6:
        words = [
            draw.choice(stems) + draw.choice(endings) + (str(draw.randrange(50)) if draw.random() < 0.02 else "")
            for _ in range(400)
        ]
        text = "\n".join(" ".join(words[start : start + 50]) + "." for start in range(0, 400, 50))
        size += len(text.encode())
        found.append(text)
    return found


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall-clock seconds, CPU seconds of this process and of those that it waited for, the result."""
    start, before = time.perf_counter(), cpu()
    result = work()
    return time.perf_counter() - start, cpu() - before, result


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=50)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", choices=PROFILES, help="one profile in place of all")
    options = parser.parse_args()
    documents = texts(options.mb)
    megabytes = sum(len(text.encode()) for text in documents) / 1e6
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = [write(Path(folder) / f"{part}.jsonl", documents[part::4]) for part in range(4)]
        for name in [options.only] if options.only else PROFILES:
            settings = PROFILES[name]
            wall, _, _ = timed(
                lambda settings=settings: cleaned(Path(folder) / "clean", files, options.processes, **settings)
            )
            rows.append([name, f"{wall:.0f}", f"{megabytes / wall:.2f}", f"{1000 / megabytes * wall / 60:.1f}"])
        selected(Path(folder) / "clean", Path(folder) / "selected")
        train_tokenizer(iter(read(Path(folder) / "selected" / "train")[:2000]), 32_000).save_pretrained(
            Path(folder) / "tokenizer"
        )
        wall, used, made = timed(
            lambda: tokenise(
                Path(folder) / "selected", Path(folder) / "tokens", Path(folder) / "tokenizer", EOS, None, 1
            )
        )
    tokens = made["train"]["tokens"] / 1e6
    print(
        tabulate(
            rows,
            headers=["cleaning", "s", "MB per s", "minutes for 1 GB"],
            disable_numparse=True,
            tablefmt="github",
        )
    )
    print(
        f"\ntokenising: {tokens:.1f} M tokens in {wall:.0f} s, {used:.0f} CPU s: {tokens / used:.2f} M tokens per CPU second"
    )


if __name__ == "__main__":
    main()
