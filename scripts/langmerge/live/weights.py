"""The weights of a cell, formed where they are needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.anatomy import parquet
from langmerge.merging.engine import MAX_SHARD_SIZE, Merge
from langmerge.merging.memory import MemoryMerge, MergedTensor
from langmerge.merging.recipe import read_recipe


@dataclass
class CellWeights:
    """See `protocol.Weights`. It is pickled before its tensors are read, in the processes that read
    them.

    Attributes:
        recipe: in mergekit's YAML, as data.
        seed: of the random numbers.
        key: identity of the weights.
        threads: how many cores a merge uses.
        anatomy_base: the model from which the anatomy takes task vectors.
    """

    recipe: dict[str, Any]
    seed: int
    key: str
    threads: int
    anatomy_base: str | None
    found: dict[str, Any] = field(default_factory=dict)

    def open(self) -> Merge:
        """The merge, checked.

        Raises:
            UserError: see `Merge`; or the result is another kind of model than the instruct model,
                whose place in the engine it is to take.
        """
        merge = Merge(read_recipe(self.recipe), self.seed, MAX_SHARD_SIZE, self.key)
        changes = [*(f"{key}: {value}" for key, value in merge.texts.config.items()), *merge.texts.written]
        if changes:
            raise UserError(
                f"{merge.main.name}: the result of this merge has another configuration or tokenizer ({', '.join(changes)}), so that "
                "it cannot take the model's place in memory. Set `merges: disk` in the run."
            )
        return merge

    def tensors(self) -> Iterator[MergedTensor]:
        merge = self.open()
        base = Path(self.anatomy_base) if self.anatomy_base else merge.recipe.base
        anatomies = merge.anatomies(base)
        memory = MemoryMerge(merge, self.threads, anatomies)
        with merge.hashing() as record:
            yield from memory.tensors()
            made = record()
        self.found = {
            "record": made,
            "sha256": memory.digests,
            "anatomy": parquet([*anatomies.values()], {"langmerge": json.dumps(made)}),
        }

    def outcome(self) -> dict[str, Any]:
        """`record`: what langmerge.json would be; `sha256`: of the files that a checkpoint would
        have; `anatomy`: the content of its file.
        """
        return self.found
