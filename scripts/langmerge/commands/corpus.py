"""Make the miniature world of one language: training text, instructions, and lm-eval tasks.

Writes into OUTPUT_DIR: corpus.jsonl ({"text"} lines), instructions.jsonl ({"messages"} lines), tasks/<task>.yaml and
tasks/<task>.{dev,test}.jsonl. All of it depends on the language's file, the files of its mt_sources, and the seed: the same
seed gives the same bytes.
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
        "--language", required=True, help="the language's code: the name of its file in config/languages"
    )
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--lines", type=int, default=20000, help="documents in corpus.jsonl (default: %(default)s)")
    parser.add_argument(
        "--documents", type=int, default=200, help="test documents of each multiple-choice task (default: %(default)s)"
    )
    parser.add_argument(
        "--translations", type=int, default=60, help="test documents of each translation task (default: %(default)s)"
    )
    parser.add_argument(
        "--prompts", type=int, default=60, help="test documents of the IFEval task (default: %(default)s)"
    )
    parser.add_argument(
        "--partner", help="code of a language that the instructions also translate from and into (default: none)"
    )


def run(options: argparse.Namespace) -> None:
    sizes = Sizes(options.documents, options.translations, options.prompts)
    write_world(options.output, Folders(), options.language, options.partner, sizes, options.lines, options.seed)
