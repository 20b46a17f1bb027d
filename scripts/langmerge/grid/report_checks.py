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

HEXADECIMAL = re.compile(r"#([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")


def check_reports(config: Config) -> Faults:
    """Note what is wrong with the run's tables and figures."""
    faults = Faults()
    entries = {(kind, name): entry for kind in ("tables", "figures") for name, entry in config.run[kind].items()}
    names = [name for _, name in entries]
    aliases = [entry["alias"] for entry in entries.values() if "alias" in entry]
    for key, entry in entries.items():
        faults.add(*entry_faults(config, [*key], entry))
        taken = [*names, *aliases].count(entry.get("alias")) > 1
        if taken or names.count(key[1]) > 1:
            what = ("alias", entry["alias"]) if taken else ("name", key[1])
            faults.add(
                f"{config.at([*key])}: another table or figure has the {what[0]} {what[1]!r} too. Choose another."
            )
    return faults


def entry_faults(config: Config, key: list[str | int], entry: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one table or figure."""
    merging = [*config.run["experiments"].values(), {"methods": [], **config.search}]
    merged = {method for experiment in merging for method in experiment["methods"]}
    for index, method in enumerate(entry.get("methods", [])):
        place = [*key, "methods", index]
        yield from unknown_method(config, method, place)
        if method in {*config.run["methods"]} - merged:
            yield f"{config.at(place)}: no experiment and no search merges with {method!r}. Add it to one, or leave it out here."
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
        if not HEXADECIMAL.fullmatch(colour):
            from matplotlib.colors import CSS4_COLORS, is_color_like  # for the few runs that name a colour

            if not is_color_like(colour):
                place = config.at([*key, "options", "palette", index])
                yield f'{place}: {colour!r} is not a colour. Write a name, such as teal, or "#rrggbb" in quotes.{nearest(colour, CSS4_COLORS)}'
