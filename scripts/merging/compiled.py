"""Loops over a tensor's elements, compiled by numba at their first call."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any

LOCK = Lock()


def compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays and numbers that calls no other; it then runs without Python's lock, a core a thread.

    Numba is imported at the first call: reading this package must cost a dry run nothing. The machine code is kept beside the source
    (or, where that is read-only, in the user's cache), so that only the first merge on a machine waits for the compiler. No fast-math:
    sums are not reordered and products are not fused, so the vector width of a machine does not show in the result.
    """
    made: list[Callable[..., Any]] = []

    @wraps(loop)
    def call(*arguments: Any) -> Any:
        if not made:
            with LOCK:
                if not made:
                    import numba

                    made.append(numba.njit(nogil=True, cache=True, error_model="numpy")(loop))
        return made[0](*arguments)

    return call
