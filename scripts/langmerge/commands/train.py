"""Train a causal language model: from scratch, by instruction tuning, or by continued pre-training.

The recipe says which. It is a YAML file or YAML text. All keys are explained in
scripts/langmerge/training/recipe.schema.yaml. For example:

  {from: results/mini/models/mini/base/none/w0, data: {eu.jsonl: 0.9, en.jsonl: 0.1},
   sequence_length: 128, batch_size: 32, steps: 150, learning_rate: 1.0e-3}

Documents ({"text"} lines) are concatenated and cut into sequences, and the loss is taken on every
token. Conversations ({"messages"} lines) stay whole where they fit, and the loss is taken only on
the assistant's turns. The same recipe, data and number of threads give the same bytes on the same
machine.

A training saves a checkpoint every `save_minutes`, when it is told to stop (SIGTERM, or SIGUSR1
before a time limit) and after its last step. The same command resumes it, also in another number of
processes. On several GPUs, start one process for each and then export the model:

  torchrun --standalone --nproc-per-node=gpu --no-python langmerge train OUTPUT ...
  langmerge export OUTPUT
"""

from __future__ import annotations

import argparse
from pathlib import Path

from langmerge.errors import UserError
from langmerge.offline import go_offline
from langmerge.training.recipe import complete
from langmerge.training.stop import Stop
from langmerge.yamls import yaml_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the model's folder, replaced if it exists")
    parser.add_argument("--recipe", required=True, metavar="YAML", help="a file, or text that starts with '{'")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
    parser.add_argument(
        "--key", metavar="TEXT", help="identity of the weights, recorded in langmerge.json (default: none)"
    )


def run(options: argparse.Namespace) -> None:
    if options.threads is not None and options.threads < 1:
        raise UserError(f"--threads {options.threads}: expected a number above 0.")
    recipe = complete(yaml_argument(options.recipe))
    for path in recipe["data"]:
        if not Path(path).exists():
            raise UserError(f"`data`: {path}: no such file or folder.")

    # Imported late: torch takes seconds, and a mistake in the recipe should be reported at once.
    go_offline()
    with Stop() as stop:
        from langmerge.training.loop import train

        train(options.output, recipe, options.threads, options.key, stop)
