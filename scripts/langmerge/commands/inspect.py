"""Say what `langmerge merge` would do with every weight of its models, and which of them do not fit
each other and why, without merging.

    langmerge inspect merged.yaml                    # a recipe
    langmerge inspect models/instruct models/eu      # model folders; each is compared with the first

A LoRA adapter is named with the model that it was trained on: models/base+adapters/eu. The headers
of the weight files are read, and only those weights that must be compared. The exit status is 0 if
the models can be merged, and 1 if not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.recipe import read_recipe
from langmerge.yamls import is_yaml_text, yaml_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="RECIPE|FOLDER",
        help="a recipe (a YAML file, or YAML text that starts with '{'), or folders of models",
    )


def run(options: argparse.Namespace) -> None:
    # Imported late: numba takes half a second, and --help should not.
    from langmerge.merging.inspection import inspect

    recipe = read_recipe(recipe_of(options.targets))
    for note in recipe.notes:
        print(f"note: {note}", file=sys.stderr)
    lines, fits = inspect(recipe)
    print("\n".join(lines))
    if not fits:
        sys.exit(1)


def recipe_of(targets: list[str]) -> Any:
    """The recipe that is named, or one that averages the models."""
    if len(targets) == 1 and (is_yaml_text(targets[0]) or Path(targets[0]).suffix in (".yaml", ".yml")):
        return yaml_argument(targets[0])
    if any(is_yaml_text(target) for target in targets):
        raise UserError("name one recipe, or any number of model folders.")
    return {
        "merge_method": "linear",
        "models": [{"model": target, "parameters": {"weight": 1}} for target in targets],
    }
