"""The compiled kernels, imported when they are first used.

Importing numba takes half a second, and a dry run needs only the signatures of the methods.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
from functools import cache
from types import ModuleType

NOT_CACHED = (
    "note: neither langmerge's folder nor the user's cache can be written, so that every merge compiles its loops again, "
    "which takes up to a minute. Set NUMBA_CACHE_DIR to a folder that can be written."
)


def lazy_import(name: str) -> ModuleType:
    """A module that is loaded at its first use, after the recipe in importlib's documentation."""
    spec = importlib.util.find_spec(name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kernels = lazy_import("langmerge.merging.kernels")


@cache
def say_once(note: str) -> None:
    print(note, file=sys.stderr)


def load_kernels() -> None:
    """Import the kernels now, and hide numba's objects from the garbage collector.

    They live as long as the process. The collector would go through all of them several times
    during the import and once at exit, which takes a fifth of a second.
    """
    first = "numba" not in sys.modules
    gc.disable()
    try:
        _ = kernels.TILE
    finally:
        gc.enable()
    if first:
        gc.freeze()
    if not kernels.CACHED:
        say_once(NOT_CACHED)
