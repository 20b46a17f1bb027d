"""Make the miniature world of one language: training text, instructions, and lm-eval tasks.

Writes into OUTPUT_DIR: corpus.jsonl ({"text"} lines), instructions.jsonl ({"messages"} lines),
tasks/<task>.yaml and tasks/<task>.{dev,test}.jsonl. All of it depends on the language's file, the
files of its mt_sources and of the partner, the sizes and the seed. The same seed gives the same
bytes.

Languages' files are looked for in config/languages of the working folder first, and in that of
langmerge's checkout second.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.grid.folders import Folders
from langmerge.mini.benchmarks import Sizes
from langmerge.mini.world import write_world


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "output", type=Path, metavar="OUTPUT_DIR", help="folder to write into, such as results/mini/data/eu"
    )
    parser.add_argument(
        "--language", required=True, metavar="CODE", help="the language: the name of its file in config/languages"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--lines", type=int, default=20000, metavar="N", help="documents in corpus.jsonl (default: %(default)s)"
    )
    parser.add_argument(
        "--documents",
        type=int,
        default=200,
        metavar="N",
        help="test documents of each multiple-choice task (default: %(default)s)",
    )
    parser.add_argument(
        "--translations",
        type=int,
        default=60,
        metavar="N",
        help="test documents of each translation task (default: %(default)s)",
    )
    parser.add_argument(
        "--prompts",
        type=int,
        default=60,
        metavar="N",
        help="test documents of the IFEval task (default: %(default)s)",
    )
    parser.add_argument(
        "--partner",
        metavar="CODE",
        help="language that the instructions also translate from and into (default: none)",
    )


def run(options: argparse.Namespace) -> None:
    sizes = Sizes(options.documents, options.translations, options.prompts)
    write_world(options.output, Folders(), options.language, options.partner, sizes, options.lines, options.seed)
