"""Variables of the run's methods: what a formula may name beside w, and what a search may vary.

A search makes one method for each choice of its variables' values, called like `ties-d0.2`. Its
cells are cells like all others: a name that says what they are, a recipe, an identity.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from langmerge.faults import nearest
from langmerge.grid.schema import At

FORMULAS = {
    "w": lambda w, n: w,
    "1-nw": lambda w, n: 1 - n * w,
}
"""What a value may be of the cell's weight w and the number n of its languages."""


def searched(run: dict[str, Any], method: str) -> dict[str, list[float]]:
    """The variables of a method that the run's search varies, each with its values."""
    own = run["methods"].get(method, {}).get("variables", {})
    return {name: points(given) for name, given in run["search"]["variables"].items() if name in own}


def variants(run: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The methods that a run's search chooses among: the name of each, the method that it is made
    of, and what the run would say of it. With the values that the run gives it, it is that method.
    """
    for method in run["search"]["methods"] if "search" in run else []:
        varied = searched(run, method)
        settings = run["methods"].get(method, {})
        usual = settings.get("variables", {})
        for values in itertools.product(*varied.values()):
            chosen = {name: value for name, value in zip(varied, values, strict=True) if value != usual[name]}
            if not chosen:
                yield method, method, settings
                continue
            label = ", ".join(
                [settings.get("label", method), *(f"{name} = {value:g}" for name, value in chosen.items())]
            )
            name = "-".join([method, *(f"{name}{value:g}" for name, value in chosen.items())])
            yield name, method, {**settings, "label": label, "variables": {**usual, **chosen}}


def points(given: list[float] | dict[str, float]) -> list[float]:
    """The numbers of a list, or of a range; those of a range have six digits, as ids have."""
    if isinstance(given, list):
        return sorted(map(float, given))
    start, step = given["from"], (given["to"] - given["from"]) / (given["number"] - 1)
    return [float(f"{start + step * number:.6g}") for number in range(given["number"])]


def formulas(value: Any, key: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The formulas in a value (see config/README.md, `methods`), each with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from () if name == "filter" else formulas(part, (*key, name))


def variable_faults(settings: dict[str, Any], key: list[str], at: At) -> Iterator[str]:
    """What is wrong with the formulas of a method, given by its key, and with its variables."""
    known = [*FORMULAS, *settings.get("variables", {})]
    places = ("instruct_weight", "language_weight", "extra", "parameters")
    used = [found for place in places for found in formulas(settings.get(place), (place,))]
    for place, text in used:
        if text not in known:
            yield (
                f"{at([*key, *place])}: {text!r} is neither a number nor a formula.{nearest(text, known)} Known:"
                f" {', '.join(known)}. A number that a search may vary is defined under `variables`, such as variables:"
                f" {{{text}: 0.5}}."
            )
    for name in settings.get("variables", {}):
        if name not in dict(used).values():
            yield f"{at([*key, 'variables', name])}: no value of this method is {name}. Use it, or leave it out."
