"""Merge models into one, as a recipe in mergekit's YAML says; the result is a complete Hugging Face
checkpoint.

The arithmetic is fp32, on a small part of a tensor at a time, so that memory does not grow with the
model. Example:

    langmerge merge merged.yaml models/merged

with merged.yaml:

    merge_method: linear
    models:
      - {model: models/instruct, parameters: {weight: 1}}
      - {model: models/basque, parameters: {weight: 0.5}}
    dtype: float32         # mergekit needs it for fp32 arithmetic; here: the default of out_dtype
    out_dtype: bfloat16    # default: the type of the tokenizer_source's weights
    tokenizer_source: models/instruct
    rows: common           # merge the tokens that all models have; default: an error if they differ
    special_tokens: models/instruct    # copy special tokens' embeddings from here; default: merge

mergekit's slices (each with sources, layer_range and parameters), gradients and filters work as in
mergekit, for whole models.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from langmerge.errors import UserError
from langmerge.merging.engine import Merge
from langmerge.merging.methods import METHODS
from langmerge.merging.recipe import read_recipe
from langmerge.merging.registry import REQUIRED, Method
from langmerge.yamls import yaml_argument

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def size(text: str) -> int:
    """Bytes of a size such as 5GB (10^9 bytes each, as in transformers) or 500MiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?B)?", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 5GB or 500MB")
    return int(float(match[1]) * UNITS[(match[2] or "").upper()])


def threads(text: str) -> int:
    """A positive number of threads."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads: 1, 2, ...")
    return int(text)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(method: Method) -> str:
    """The line of a method in --help: its parameters with their defaults."""
    parameters = [
        parameter.name if parameter.default is REQUIRED else f"{parameter.name}={str(parameter.default).lower()}"
        for parameter in (*method.per_model.values(), *method.overall.values())
    ]
    return f"  {method.name}: {', '.join(parameters)}{' (needs base_model)' if method.needs_base else ''}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "methods, with their parameters and defaults:\n" + "\n".join(
        describe(METHODS[name]) for name in sorted(METHODS)
    )
    parser.add_argument(
        "recipe",
        metavar="RECIPE",
        help="a YAML file, or YAML text that starts with '{'. tokenizer_source names the model whose config, tokenizer, "
        "chat template and generation settings the result has (default: the first of models)",
    )
    parser.add_argument(
        "output", type=Path, metavar="OUTPUT", help="folder to write; an earlier merge in that folder is replaced"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the random numbers of the dare and della methods (default: 0)"
    )
    parser.add_argument(
        "--threads", type=threads, default=cores(), metavar="N", help="cores to use (default: all available ones)"
    )
    parser.add_argument(
        "--page-cache",
        action="store_true",
        help="write through the page cache, for a program that reads the result next on this machine; slower (default: "
        "past it, where the disk can)",
    )
    parser.add_argument(
        "--anatomy",
        type=Path,
        metavar="FILE",
        help="write norms, cosines and sign conflicts of the task vectors of each tensor to this file, as Parquet",
    )
    parser.add_argument(
        "--anatomy-base",
        type=Path,
        metavar="FOLDER",
        help="for --anatomy, the model that the others were trained from. Needed where the recipe has no base_model (the "
        "file has no rows otherwise) or another one",
    )
    parser.add_argument(
        "--max-shard-size",
        type=size,
        default="5GB",
        metavar="SIZE",
        help="shard the weights if they are larger (default: 5GB)",
    )
    parser.add_argument(
        "--key", metavar="TEXT", help="identity of the weights, recorded in langmerge.json (default: none)"
    )


def run(options: argparse.Namespace) -> None:
    given = yaml_argument(options.recipe)
    try:
        recipe = read_recipe(given)
    except UserError as error:
        where = options.recipe if Path(options.recipe).suffix in (".yaml", ".yml") else "the recipe"
        raise UserError(f"{where}: {error}") from None
    for note in recipe.notes:
        print(f"note: {note}", file=sys.stderr)
    merge = Merge(recipe, options.seed, options.max_shard_size, options.key)
    merge.write(options.output, options.threads, options.page_cache, options.anatomy, options.anatomy_base)
