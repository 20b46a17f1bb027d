"""Merge anatomy: statistics of each tensor's task vectors, and of the merge among them.

They show where a language and the instructions collide, and why a method collapses. They are taken
while the tensors are merged; of large tensors, part of every sixteenth chunk is examined.

Shapes: `C` weights of a chunk or of the part of it that is examined, `M` models that are compared.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from langmerge.files import leftovers, write_bytes
from langmerge.merging.checkpoint import Tensor
from langmerge.merging.expressions import fp32
from langmerge.merging.lazy import kernels
from langmerge.merging.tensors import Array, Chunk, TensorInfo

MERGED = "merged"
PART = 2**16
"""Weights of a chunk that are examined, where a tensor has several chunks."""
STATISTICS = ("norm", "base_norm", "cosine", "conflicts", "kept")


class Anatomy:
    """The sums over one tensor.

    Attributes:
        base: where to read the model that task vectors are taken from, if the merge itself does not
            read it.
        kept: the share of each model's task vector that the method keeps, by name.
    """

    def __init__(
        self, tensor: TensorInfo, names: Sequence[str], first: str, base: Tensor | None, kept: dict[str, float]
    ) -> None:
        """Begin with sums of 0.

        Args:
            names: (M,) of the models that `examine` will get.
            first: the model that the others are compared with.
        """
        self.tensor, self.base, self.kept = tensor, base, kept
        order = sorted(range(len(names)), key=lambda index: names[index] != first)
        self.order, self.names = order, [names[index] for index in order]
        self.sums: dict[int, Array] = {}
        self.examined: dict[int, int] = {}

    def part(self, chunk: Chunk, chunks: int) -> Chunk | None:
        """What to examine of a chunk of a tensor that has so many, if anything."""
        if chunk.index % min(max(chunks // 4, 1), 16):
            return None
        return chunk if chunks == 1 else replace(chunk, size=min(chunk.size, PART))

    def examine(self, part: Chunk, base: Array, models: Array, merged: Array) -> None:
        """Add up statistics, given bits: base (C,), models (M, C) and merged (C,)."""
        models = models[self.order]
        if base.dtype != models.dtype:
            base, models = fp32(base).view(np.uint32), fp32(models).view(np.uint32)
        sums = np.zeros((len(models) + 2, 3))
        kernels.examine(base, tuple(models), merged, sums)
        self.sums[part.index], self.examined[part.index] = sums, part.size

    def rows(self) -> list[dict[str, object]]:
        """One row for each model and one for the result.

        Columns:
            tensor; layer (None outside the layers); module (the name without layer and .weight);
                size and examined, in weights.
            model: its folder, or "merged".
            norm, base_norm: ||theta_i - theta_b|| and ||theta_b||, estimated from the examined
                weights.
            cosine: between this task vector and the first model's.
            conflicts: share of the weights in which the signs of these two differ.
            kept: share of the task vector that the method keeps; missing for the result.
        """
        indices = sorted(self.sums)
        examined = sum(self.examined.values())
        if not examined:
            return []
        totals = np.array(
            [
                [math.fsum(self.sums[index][row, column] for index in indices) for column in range(3)]
                for row in range(len(self.names) + 2)
            ]
        )
        (base, *_), first = totals[0], totals[1, 0]
        layer = self.tensor.layer
        module = self.tensor.name.rpartition(f".{layer}.")[2] if layer is not None else self.tensor.name
        return [
            {
                "tensor": self.tensor.name,
                "layer": layer,
                "module": module.removesuffix(".weight"),
                "size": self.tensor.size,
                "examined": examined,
                "model": name,
                "norm": math.sqrt(square * self.tensor.size / examined),
                "base_norm": math.sqrt(base * self.tensor.size / examined),
                "cosine": product / math.sqrt(square * first) if square and first else math.nan,
                "conflicts": conflicts / examined,
                "kept": self.kept.get(name, math.nan),
            }
            for name, (square, product, conflicts) in zip([*self.names, MERGED], totals[1:], strict=True)
        ]


def write_anatomy(path: Path, anatomies: Sequence[Anatomy], metadata: dict[str, str]) -> None:
    """Write all rows as Parquet, whole or not at all, and remove what killed processes have left of
    it.
    """
    for stale in leftovers(path):
        stale.unlink(missing_ok=True)
    write_bytes(path, parquet(anatomies, metadata))


def parquet(anatomies: Sequence[Anatomy], metadata: dict[str, str]) -> bytes:
    """All rows as a file in Parquet's format."""
    import pyarrow
    from pyarrow import json as lines
    from pyarrow.parquet import write_table

    columns = [
        ("tensor", "string"),
        ("layer", "int32"),
        ("module", "string"),
        ("size", "int64"),
        ("examined", "int64"),
        ("model", "string"),
    ]
    columns += [(name, "float64") for name in STATISTICS]
    schema = pyarrow.schema([(name, pyarrow.type_for_alias(type_)) for name, type_ in columns])
    rows = "\n".join(json.dumps(row) for anatomy in anatomies for row in anatomy.rows()).encode()
    # Not Table.from_pylist: with it pyarrow imports pandas, which takes a tenth of a small merge's
    # time.
    options = lines.ParseOptions(explicit_schema=schema)
    table = lines.read_json(io.BytesIO(rows), parse_options=options) if rows else pyarrow.Table.from_batches([], schema)
    content = pyarrow.BufferOutputStream()
    write_table(table.replace_schema_metadata(metadata), content)
    return content.getvalue()
