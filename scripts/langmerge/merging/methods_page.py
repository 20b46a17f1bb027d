"""docs/methods.md, made from the methods' docstrings and signatures.

python -m langmerge.merging.methods_page > docs/methods.md
"""

from __future__ import annotations

import inspect
import math
import sys
import textwrap

from langmerge.merging.methods import METHODS
from langmerge.merging.registry import REQUIRED, RESCALINGS, Method, Parameter, PerModel, Rescale

WIDTH = 100

INTRODUCTION = """\
Names, parameters and defaults are those of mergekit 0.1.5. In the equations, theta_i are the weights of model i, theta_b
those of the base, and tau_i = theta_i - theta_b is a task vector; M is the number of models without the base.

A parameter "of a model" is given under `parameters` of an entry of `models`, or once for all of them under the recipe's
own `parameters`, where the others belong, too. A number may also be a list, which is interpolated over the layers, or a
list of {filter: part of a tensor's name, value: ...}. [merging.md](merging.md) describes recipes.

"Passes" are those over the weights of a tensor before the one that merges it."""


def page() -> str:
    """The content of docs/methods.md."""
    command = inspect.cleandoc(__doc__).splitlines()[-1].strip()
    parts = [
        "# Merge methods",
        f"<!-- Made by `{command}`.\nChange the docstrings and signatures in "
        "scripts/langmerge/merging/methods.py instead. -->",
        *map(wrapped, INTRODUCTION.split("\n\n")),
        *(part for _, method in sorted(METHODS.items()) for part in section(method)),
    ]
    return "\n\n".join(parts) + "\n"


def section(method: Method) -> list[str]:
    """The parts of a method's section."""
    paragraphs = inspect.cleandoc(method.function.__doc__).split("\n\n")
    parameters = [*method.per_model.values(), *method.overall.values()]
    is_exact = method.min_models == method.max_models
    count = f"exactly {method.max_models}" if is_exact else f"{method.min_models} or more"
    models = f"{count} model{'s' if count != 'exactly 1' else ''}"
    if method.needs_base:
        models += ", one of which is the `base_model`"
    elif method.takes_base:
        models += ", and a `base_model` if it is to merge task vectors"
    passes = method.preparation.passes if method.preparation else "none"
    table = ["| parameter | of | default | values |", "|---|---|---|---|", *map(row, parameters)]
    return [
        f"## {method.name}",
        *map(wrapped, paragraphs),
        wrapped(f"Merges {models}. Passes: {passes}."),
        *(["\n".join(table)] if parameters else []),
    ]


def row(parameter: Parameter) -> str:
    """A parameter's row of the table."""
    owner = "a model" if parameter.kind == PerModel else "the merge"
    default = "required" if parameter.default is REQUIRED else text(parameter.default)
    return f"| `{parameter.name}` | {owner} | {default} | {values(parameter)} |"


def values(parameter: Parameter) -> str:
    """The values that a parameter may have, in words."""
    if parameter.kind == Rescale:
        return ", ".join(map(text, RESCALINGS))
    if parameter.kind is bool:
        return "true, false"
    number = "whole numbers" if parameter.kind is int else "numbers"
    low, high = parameter.range.low, parameter.range.high
    if math.isfinite(low) and math.isfinite(high):
        return f"{number} from {low:g} to {high:g}"
    return f"{number} of at least {low:g}" if math.isfinite(low) else number


def text(value: object) -> str:
    """A value as it is written in YAML."""
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def wrapped(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(page())
