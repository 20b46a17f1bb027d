"""What the IFEval tasks' YAMLs call: the scoring of evaluation/ifeval.py, without a language's table (`process_results`) and with one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

# lm-eval loads what `!function` names by a path that starts at the YAML, and knows of scripts/ only where this project calls it.
from langmerge.evaluation.ifeval import process_results, share_followed, tables, without_response_language

__all__ = ["process_results", "share_followed", "without_response_language"]


def __getattr__(name: str) -> Callable[..., dict[str, Any]]:
    """`process_results_<language>`, for each language that has a table.

    Raises:
        AttributeError: it has none.
    """
    code = name.removeprefix("process_results_")
    if code == name or code not in tables():
        raise AttributeError(f"{name}: expected process_results_<language>, with one of: {', '.join(tables())}")
    return partial(process_results, table=tables()[code])
