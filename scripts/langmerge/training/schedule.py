"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any


def rate(step: int, steps: int, recipe: dict[str, Any]) -> float:
    """The learning rate of a step, counted from 0, of so many.

    It rises from 0 to its peak in the warm-up. From there it falls to `minimum_rate` of the peak:
    as half a cosine (Loshchilov and Hutter 2017), or in a line; or it stays.
    """
    peak, floor = recipe["learning_rate"], recipe["minimum_rate"]
    warmup = math.ceil(recipe["warmup_ratio"] * steps)
    if step < warmup:
        return peak * step / warmup
    done = (step - warmup) / max(1, steps - warmup)
    left = {"cosine": 0.5 * (1.0 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[recipe["schedule"]]
    return peak * (floor + (1 - floor) * left)
