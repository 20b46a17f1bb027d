"""Scores of an invented sweep over w, for the tests of figures."""

from __future__ import annotations

import math

LANGUAGES = ["eu", "gl", "ca", "es"]
WEIGHTS = [0.25, 0.5, 0.75, 1, 1.5, 2]
SPEC = {
    "languages": LANGUAGES,
    "methods": ["linear", "task_arithmetic"],
    "backbone": "mini",
    "labels": {
        "methods": {"linear": "Linear"},
        "backbones": {"mini": "Mini"},
        "languages": {"eu": "Basque", "gl": "Galician", "ca": "Catalan", "es": "Spanish"},
    },
}


def curve(method: str, measure: str, weight: float, index: int) -> float:
    """Language scores rise with w and instruction following falls; task arithmetic collapses above
    w = 1.
    """
    value = 60 - 20 * weight if measure == "ifeval" else 10 * index + 30 * (1 - math.exp(-weight))
    return value * (0.1 if method == "task_arithmetic" and weight > 1 else 1)
