"""Switches the hub off: compute nodes have no network, and every model and data set is a local file by then."""

from __future__ import annotations

import os


def go_offline() -> None:
    """Forbid lm-eval, datasets and transformers to fetch anything in this process and in those that it starts.

    They read these variables when they are imported, so this must be called first. What the user has set is kept.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    # lm-eval would start a pool of processes for each bootstrap; ours take less time than that.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
