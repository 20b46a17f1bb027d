"""The compiled kernels, imported at their first use: numba takes half a second, and a dry run needs only the methods' signatures."""

from __future__ import annotations

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


kernels = lazy_import("merging.kernels")
