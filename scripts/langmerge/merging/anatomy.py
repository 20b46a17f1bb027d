"""Merge anatomy: how the task vectors of each tensor lie to one another, and how far the merge went; looked at while they are merged.

So that one sees where language and instruction collide, and why a method collapses. Of large tensors, a piece of one part in sixteen is looked at.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from langmerge.files import write_bytes
from langmerge.merging.checkpoint import Tensor
from langmerge.merging.lazy import kernels
from langmerge.merging.merged import fp32
from langmerge.merging.survey import Array, Part, Place

MERGED = "merged"
PIECE = 2**16
"""Weights that are looked at of a part, where a tensor has several."""


class Anatomy:
    """The sums over one tensor.

    Attributes:
        base: where to read what task vectors are taken from, if the merge itself does not.
        kept: the share of each model's task vector that the method keeps, by name.
    """

    def __init__(
        self, place: Place, names: Sequence[str], first: str, base: Tensor | None, kept: dict[str, float]
    ) -> None:
        """`names`: of the rows that `look` will get. `first`: the one with which the others are compared."""
        self.place, self.base, self.kept = place, base, kept
        order = sorted(range(len(names)), key=lambda index: names[index] != first)
        self.order, self.names = order, [names[index] for index in order]
        self.sums: dict[int, Array] = {}
        self.examined: dict[int, int] = {}

    def piece(self, part: Part, parts: int) -> Part | None:
        """What to look at of a part, of so many."""
        if part.index % min(max(parts // 4, 1), 16):
            return None
        return part if parts == 1 else replace(part, size=min(part.size, PIECE))

    def look(self, part: Part, base: Array, models: Array, merged: Array) -> None:
        """Look at the bits of a part of the base, of the models, a row each, and of the result."""
        models = models[self.order]
        if base.dtype != models.dtype:
            base, models = fp32(base).view(np.uint32), fp32(models).view(np.uint32)
        found = np.zeros((len(models) + 2, 3))
        kernels.examine(base, tuple(models), merged, found)
        self.sums[part.index], self.examined[part.index] = found, part.size

    def rows(self) -> list[dict[str, object]]:
        """A row for each model and one for the result.

        Columns:
            tensor, layer (None out of the layers), module (the name without layer and .weight), size (weights), examined (of them).
            model: its folder, or "merged".
            norm, base_norm: ||theta_i - theta_b|| and ||theta_b||, estimated from what was examined.
            cosine: between this task vector and the first model's. conflicts: share of the weights in which their signs differ.
            kept: share of the task vector that the method does not drop; missing for the result.
        """
        indices = sorted(self.sums)
        examined = sum(self.examined.values())
        if not examined:
            return []
        total = np.array(
            [
                [math.fsum(self.sums[i][row, column] for i in indices) for column in range(3)]
                for row in range(len(self.names) + 2)
            ]
        )
        (base, *_), first = total[0], total[1, 0]
        number = self.place.layer
        module = self.place.name.rpartition(f".{number}.")[2] if number is not None else self.place.name
        return [
            {
                "tensor": self.place.name,
                "layer": number,
                "module": module.removesuffix(".weight"),
                "size": self.place.size,
                "examined": examined,
                "model": name,
                "norm": math.sqrt(square * self.place.size / examined),
                "base_norm": math.sqrt(base * self.place.size / examined),
                "cosine": product / math.sqrt(square * first) if square and first else math.nan,
                "conflicts": conflicts / examined,
                "kept": self.kept.get(name, math.nan),
            }
            for name, (square, product, conflicts) in zip([*self.names, MERGED], total[1:], strict=True)
        ]


def write_anatomy(path: Path, anatomies: Sequence[Anatomy], metadata: dict[str, str]) -> None:
    """Write all rows as Parquet, whole or not at all."""
    import pyarrow
    from pyarrow import json as lines
    from pyarrow import parquet

    columns = [
        ("tensor", "string"),
        ("layer", "int32"),
        ("module", "string"),
        ("size", "int64"),
        ("examined", "int64"),
        ("model", "string"),
    ]
    columns += [(name, "float64") for name in ("norm", "base_norm", "cosine", "conflicts", "kept")]
    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in columns])
    rows = "\n".join(json.dumps(row) for anatomy in anatomies for row in anatomy.rows()).encode()
    # Not Table.from_pylist, with which pyarrow imports pandas: a tenth of a merge's time.
    options = lines.ParseOptions(explicit_schema=schema)
    table = lines.read_json(io.BytesIO(rows), parse_options=options) if rows else pyarrow.Table.from_batches([], schema)
    content = pyarrow.BufferOutputStream()
    parquet.write_table(table.replace_schema_metadata(metadata), content)
    write_bytes(path, content.getvalue())
