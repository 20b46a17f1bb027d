"""What tensors of equal shapes mean: models with another architecture or other tokens are refused.

Each of these differences gives a merge that loads, and answers with noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.layouts import model_type
from langmerge.merging.recipe import DIFFERENCES
from langmerge.merging.sources import Checkpoint, setting
from langmerge.merging.vocabulary import check_tokens

SETTINGS = ("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act")
"""Settings that change what equal weights compute."""


def check_meaning(checkpoints: Sequence[Checkpoint], main: Checkpoint, accepted: Sequence[str]) -> None:
    """Refuse models whose weights mean something else than those of `main`.

    Settings that only one of two configs gives are not compared, because their defaults belong to
    the code that reads them.

    Args:
        accepted: which of DIFFERENCES are allowed.

    Raises:
        UserError: it names the setting, both values and how to allow it.
    """
    expected = meaning(main.config)
    for checkpoint in checkpoints:
        found = meaning(checkpoint.config)
        for name in DIFFERENCES[:-1]:
            if name in accepted or found[name] is None or expected[name] is None or found[name] == expected[name]:
                continue
            raise UserError(
                f"{name} is {found[name]!r} in {checkpoint.folder / 'config.json'} and {expected[name]!r} in "
                f"{main.folder / 'config.json'}, so that equal weights mean something else. If you know that they can be "
                f"merged all the same, add `accept: [{name}]` to the recipe."
            )
        if "tokens" not in accepted and checkpoint is not main:
            check_tokens(checkpoint, main)


def meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config that give its weights their meaning; None where it does not say."""
    found = {name: setting(config, name) for name in SETTINGS}
    rope = setting(config, "rope_parameters") or {}
    rope = rope.get("full_attention") or rope
    scaling = setting(config, "rope_scaling") or rope
    kind = scaling.get("rope_type", scaling.get("type")) or "default"
    return {
        **found,
        "model_type": model_type(config) or None,
        "rope_theta": rope.get("rope_theta", setting(config, "rope_theta")),
        "rope_scaling": kind if kind == "default" else (kind, scaling.get("factor")),
    }
