"""Jobs on compute nodes have no network: everything that they read is a local file by then."""

from __future__ import annotations

import os


def go_offline() -> None:
    """Turn the hub off for this process and its children, unless the environment says otherwise.

    To be called before the first import of huggingface_hub, transformers or datasets, which read
    these variables when they are imported.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
