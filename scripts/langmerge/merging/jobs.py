"""A tensor to be merged: where it is read from, how it is merged, where it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from langmerge.errors import UserError
from langmerge.merging.anatomy import Anatomy
from langmerge.merging.computed import Source
from langmerge.merging.expressions import Copy, Expression
from langmerge.merging.passes.base import Preparation
from langmerge.merging.shards import Target
from langmerge.merging.tensors import Array, TensorInfo


@dataclass(frozen=True)
class UnmergedRows:
    """Rows of a tensor that are copied from one source.

    Attributes:
        source: its index among the job's sources.
        rows: their sorted numbers.
    """

    source: int
    rows: Array


@dataclass(frozen=True)
class Job:
    """One tensor of the merge, or its first or its last rows.

    Attributes:
        sources: where the recipe's models store it, the base first if there is one.
        has_base: whether there is one.
        preparation: what the equation needs to know first; the same for all jobs if it is of the
            whole model.
        equation: (base, models, what the preparation says of the chunk) -> the merged chunk.
        write: takes the bytes of merged weights and their offset in the tensor, in bytes.
        dtype: the type that is written.
        anatomy: statistics of the merge that are taken on the way, if any.
        unmerged: rows that do not follow the equation. Passes and anatomy see them as merged all
            the same.
    """

    tensor: TensorInfo
    sources: tuple[Source, ...]
    has_base: bool
    preparation: Preparation | None
    equation: Callable[[Array | None, Array, Any], Expression]
    write: Callable[[Array, int], None]
    dtype: np.dtype
    anatomy: Anatomy | None = None
    unmerged: UnmergedRows | None = None


def copy_job(tensor: TensorInfo, source: Source, dtype: np.dtype, target: Target, offset: int) -> Job:
    """The job that writes one model's weights, rounded to a type, to a target at an offset in
    bytes.
    """
    return Job(
        tensor=tensor,
        sources=(source,),
        has_base=False,
        preparation=None,
        equation=lambda base, models, prepared: Copy(models[0]),
        write=lambda data, start: target.write(data, offset + start),
        dtype=dtype,
    )


class NotFinite(Exception):
    """A weight is NaN or infinite: one of `source`, or, if that is None, a merged one."""

    def __init__(self, job: Job, source: Source | None) -> None:
        self.job, self.source = job, source


@contextmanager
def refusing_not_finite() -> Iterator[None]:
    """Turn what a stream finds into a message for the user."""
    try:
        yield
    except NotFinite as error:
        raise not_finite(error) from None


def not_finite(error: NotFinite) -> UserError:
    """Say in which model, or because of which type, a weight is not finite."""
    tensor = error.job.tensor.name
    if error.source:
        return UserError(
            f"{error.source.file}: {tensor} has NaN or infinite weights. That model is broken: download or train it again."
        )
    return UserError(
        f"{tensor}: a merged weight is too large for {error.job.dtype}. Set out_dtype to float32 or bfloat16, or use smaller "
        "weights in the recipe."
    )
