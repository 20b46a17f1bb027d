"""Run mergekit on many recipes in one process; for the Python of envs/mergekit.txt, without
anything of langmerge.

    python run_mergekit.py < jobs.json

with jobs.json a list of {"recipe": {...}, "output": folder, "seed": number}, and "tokenizer": true
to write a tokenizer, too. mergekit takes any of several equal magnitudes, for its sorts are not
stable; here they are, so that the one with the lowest index comes first, and there is one right
answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch


def stable(sort: Callable[..., Any]) -> Callable[..., Any]:
    """`sort`, torch's sort or argsort, made stable."""

    def stable_sort(input: torch.Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
        return sort(input, dim=dim, descending=descending, stable=True)

    return stable_sort


def stable_topk(input: torch.Tensor, k: int, dim: int = -1, largest: bool = True) -> Any:
    """torch's topk, made of its stable sort."""
    values, indices = torch.sort(input, dim=dim, descending=largest)
    return values.narrow(dim, 0, k), indices.narrow(dim, 0, k)


for owner in (torch, torch.Tensor):
    for name in ("sort", "argsort"):
        setattr(owner, name, stable(getattr(owner, name)))
    owner.topk = stable_topk

# After the change: a module may take a function of torch by name.
from mergekit.config import MergeConfiguration  # noqa: E402
from mergekit.merge import run_merge  # noqa: E402
from mergekit.options import MergeOptions  # noqa: E402


def main() -> None:
    for job in json.load(sys.stdin):
        options = MergeOptions(
            copy_tokenizer=job.get("tokenizer", False), write_model_card=False, quiet=True, random_seed=job["seed"]
        )
        run_merge(MergeConfiguration.model_validate(job["recipe"]), job["output"], options)


if __name__ == "__main__":
    main()
