"""What is refused of tables and figures before any job: methods and backbones that there are not,
and what is no colour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from langmerge.faults import Faults, nearest
from langmerge.grid.checks import unknown_method
from langmerge.grid.config import Config

COLOUR = re.compile(r"#([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})|[a-zA-Z]+( [a-z]+)*|(tab|xkcd):[a-z /']+|C\d")
"""How matplotlib writes a colour. Whether there is one of that name, `langmerge check` asks it."""


def check_reports(config: Config) -> Faults:
    """Note what is wrong with the run's tables and figures."""
    faults = Faults()
    for kind in ("tables", "figures"):
        for name, entry in config.run[kind].items():
            faults.add(*entry_faults(config, [kind, name], entry))
    return faults


def entry_faults(config: Config, key: list[str | int], entry: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one table or figure."""
    for index, method in enumerate(entry.get("methods", [])):
        yield from unknown_method(config, method, [*key, "methods", index])
    weights = entry.get("weights")
    for method in weights if isinstance(weights, dict) and not {*weights} <= {"each", "multi"} else []:
        yield from unknown_method(config, method, [*key, "weights", method])
    for field in ("backbones", "baselines", "backbone"):
        names = entry.get(field, [])
        for name in [names] if isinstance(names, str) else names:
            # Not only those of the run: the command line may run a part of a large grid.
            if config.folders.find(f"backbones/{name}.yaml") is None:
                known = config.folders.names("backbones")
                yield (
                    f"{config.at([*key, field])}: unknown backbone {name!r}.{nearest(name, known)} Known: {', '.join(known)}."
                )
    for index, colour in enumerate(entry.get("options", {}).get("palette", [])):
        if not COLOUR.fullmatch(colour):
            place = config.at([*key, "options", "palette", index])
            yield f'{place}: {colour!r} is not a colour. Write a name, such as teal, or "#rrggbb" in quotes.'
