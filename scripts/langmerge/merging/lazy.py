"""The compiled kernels, imported at their first use: numba takes half a second, and a dry run needs only the methods' signatures."""

from __future__ import annotations

import gc
import importlib.util
import sys
from types import ModuleType


def lazy_import(name: str) -> ModuleType:
    """A module that is loaded when one of its attributes is first asked for (the recipe of importlib's documentation)."""
    spec = importlib.util.find_spec(name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kernels = lazy_import("langmerge.merging.kernels")


def load_kernels() -> None:
    """Import the kernels now, and hide numba's objects, which live as long as the process, from the garbage collector.

    It would look at all of them several times while they are made, and at exit: a fifth of a second.
    """
    first = "numba" not in sys.modules
    gc.disable()
    try:
        _ = kernels.TILE
    finally:
        gc.enable()
    if first:
        gc.freeze()
