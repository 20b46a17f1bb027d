"""Run mergekit on many recipes in one process; for the Python of envs/mergekit.txt, without anything of langmerge.

    python run_mergekit.py < jobs.json

with jobs.json a list of {"recipe": {...}, "output": folder, "seed": number}. mergekit takes any of several equal magnitudes,
for its sorts are not stable; here they are, so that the one with the lowest index comes first, and there is one right answer.
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


for name in ("sort", "argsort"):
    for owner in (torch, torch.Tensor):
        setattr(owner, name, stable(getattr(owner, name)))

# After the change: a module may take a function of torch by name.
from mergekit.config import MergeConfiguration  # noqa: E402
from mergekit.merge import run_merge  # noqa: E402
from mergekit.options import MergeOptions  # noqa: E402


def main() -> None:
    for job in json.load(sys.stdin):
        options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, random_seed=job["seed"])
        run_merge(MergeConfiguration.model_validate(job["recipe"]), job["output"], options)


if __name__ == "__main__":
    main()
