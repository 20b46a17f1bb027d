"""Train a causal language model: from scratch, by supervised instruction tuning, or by continued pre-training. The recipe says which.

A recipe is a YAML file or YAML text; scripts/training/recipe.schema.yaml explains every key. For example:

  {from: results/mini/models/mini/base/none/w0, data: {eu.jsonl: 0.9, en.jsonl: 0.1},
   sequence_length: 128, batch_size: 32, steps: 150, learning_rate: 1.0e-3}

Documents ({"text"} lines) are joined and cut into sequences; every token is learned. Conversations ({"messages"} lines) stay whole where they fit, and only
what the assistant says is learned. The same recipe, data and number of threads give the same bytes on the same machine.

On several GPUs, put `accelerate launch` with an FSDP configuration, or `torchrun`, in front of this command. With `save_every`, a training that was killed
goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.errors import UserError
from langmerge.training.recipe import complete
from langmerge.yamls import yaml_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the model's folder, replaced if it exists")
    parser.add_argument("--recipe", required=True, metavar="YAML", help="a file, or text that starts with '{'")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: as many as torch takes)")


def run(options: argparse.Namespace) -> None:
    if options.threads is not None and options.threads < 1:
        raise UserError(f"--threads {options.threads}: expected a number above 0.")
    recipe = complete(yaml_argument(options.recipe))
    for path in recipe["data"]:
        if not Path(path).is_file():
            raise UserError(f"`data`: {path}: no such file.")

    # Imported late: torch takes seconds, and a mistake in the recipe should not.
    from langmerge.training.loop import train

    train(options.output, recipe, options.threads)
