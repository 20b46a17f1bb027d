"""What the YAML files of the IFEval tasks call.

It is the scoring of langmerge.evaluation.ifeval, with and without a language's table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from langmerge.evaluation.ifeval import process_results, share_followed, without_response_language
from langmerge.evaluation.ifeval_text import tables

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
