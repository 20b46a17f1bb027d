"""Whether a model was trained from another, as far as their weights tell: before anything is
merged.

All weights are read once, in parts, so that memory does not grow with the models. Which of two
related models was there first, no weight tells; a chat template may.

Shapes: `L` weights of a part, `R` rows and `C` columns of a matrix, `K` of them that are sampled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from langmerge.merging.companions import CONFIGS
from langmerge.merging.computed import Source, read_fp32
from langmerge.merging.opened import Files
from langmerge.merging.sources import Checkpoint, open_checkpoint, parts
from langmerge.merging.tensors import Array, TensorInfo, tensor_infos
from langmerge.weights import read_json

ALIKE = 0.8
"""Cosine of two matrices from which one counts as the other, trained further. Independent matrices
of n weights have about 1 / sqrt(n); what was trained from the same weights has more than 0.9 in all
cases that were measured.
"""
MOST, FEW = 0.95, 0.05
"""Shares of the weights of all matrices: a child has at least MOST in matrices that are alike, an
unrelated model at most FEW."""
SAMPLED = 32
"""Rows and columns of a matrix that are looked for elsewhere in the other model's."""
SEARCHED = 6
"""Matrices that are searched for moved rows and columns."""

SAME, CHILD, PERMUTED, PARTLY, UNRELATED, OTHER = (
    "the same model",
    "a child",
    "a child whose neurons were reordered",
    "related in parts only",
    "unrelated",
    "another architecture",
)
MEANING = {
    SAME: "all weights are equal: one folder is named twice, or an instruct model as the base",
    CHILD: "trained from the base, or both from a common ancestor: task vectors mean something",
    PERMUTED: "rows or columns of the base are at other places: merging would average different neurons",
    PARTLY: "some matrices are alike and others are not: look at the table, and do not merge before you know why",
    UNRELATED: "of the same shape, but not trained from the base: merging would destroy both",
    OTHER: "most weights have other names or shapes, so they cannot be merged",
}


@dataclass(frozen=True)
class Compared:
    """A tensor of both models.

    Attributes:
        equal: share of the weights that are equal.
        base_norm: ||b||. norm: ||m||, as a share of it. cosine: of b and m. change: ||m - b|| as a
            share of ||b||.
    """

    tensor: TensorInfo
    equal: float
    base_norm: float
    norm: float
    cosine: float
    change: float

    @property
    def is_matrix(self) -> bool:
        """Whether it tells anything: vectors, such as norms near 1, are alike in all models."""
        return len(self.tensor.shape) > 1 and not math.isnan(self.cosine)

    @property
    def module(self) -> str:
        """The name without layer and `.weight`."""
        layer = self.tensor.layer
        name = self.tensor.name if layer is None else self.tensor.name.rpartition(f".{layer}.")[2]
        return name.removesuffix(".weight")


@dataclass(frozen=True)
class Outlook:
    """What two models are to each other.

    Attributes:
        compared: the tensors of both. only: names that one of them has, or that have another shape.
        moved: share of the sampled rows or columns that were found elsewhere; 0 where none was
            looked for.
        notes: sentences about what the folders hold besides the weights.
    """

    verdict: str
    compared: list[Compared]
    only: list[str]
    moved: float
    notes: list[str]


def outlook(base: Path, model: Path) -> Outlook:
    """Compare a model with the base that it is said to be trained from.

    Raises:
        UserError: one of them cannot be read.
    """
    first, second = open_checkpoint(base), open_checkpoint(model)
    pairs = dict(common(first, second))
    infos = tensor_infos({name: own.shape for name, (own, _) in pairs.items()})
    compared = [measured(infos[name], *pair) for name, pair in pairs.items()]
    every = {**first.tensors, **second.tensors}
    only = sorted({*every} - {*pairs})
    matrices = [own for own in compared if own.is_matrix]
    strange = sorted((own for own in matrices if own.cosine < ALIKE), key=lambda own: -own.tensor.size)
    weights = sum(own.tensor.size for own in matrices)
    alike = 1 - sum(own.tensor.size for own in strange) / weights if weights else 0.0
    moved = 0.0
    if sum(own.tensor.size for own in compared) < sum(own.size for own in first.tensors.values()) / 2:
        verdict = OTHER
    elif not only and all(own.equal == 1 for own in compared):
        verdict = SAME
    elif alike >= MOST:
        verdict = CHILD
    else:
        moved = max(found_elsewhere(*pairs[own.tensor.name]) for own in strange[:SEARCHED])
        verdict = PERMUTED if moved > 0.5 else UNRELATED if alike <= FEW else PARTLY
    return Outlook(verdict, compared, only, moved, notes(first, second))


def common(first: Checkpoint, second: Checkpoint) -> Iterator[tuple[str, tuple[Source, Source]]]:
    """The tensors that both have; of embeddings of two vocabularies, the first rows that both have."""
    for name, own in first.tensors.items():
        other = second.tensors.get(name)
        if other is not None and own.shape[1:] == other.shape[1:] and own.shape:
            rows = min(own.shape[0], other.shape[0])
            if own.shape == other.shape:
                yield name, (own, other)
            elif rows and len(own.shape) > 1 and own.shape[0] != own.shape[1]:
                shape = (rows, *own.shape[1:])
                yield name, (own.part(0, shape), other.part(0, shape))


def measured(tensor: TensorInfo, base: Source, model: Source) -> Compared:
    sums = np.zeros(4)
    equal = 0
    for ours, theirs, _ in parts(base, model):
        equal += int((ours == theirs).sum())
        change = theirs - ours
        sums += [np.dot(ours, ours), np.dot(theirs, theirs), np.dot(ours, theirs), np.dot(change, change)]
    own, other, product, change = sums
    cosine = product / math.sqrt(own * other) if own and other else math.nan
    share = 1 / math.sqrt(own) if own else math.nan
    return Compared(
        tensor,
        equal / max(tensor.size, 1),
        math.sqrt(own),
        math.sqrt(other) * share,
        cosine,
        math.sqrt(change) * share,
    )


def found_elsewhere(base: Source, model: Source) -> float:
    """Of some rows and of some columns of the base's matrix, the share that the model's has at any
    place; the larger of the two.
    """
    columns = base.shape[-1]
    rows = prod(base.shape[:-1])
    chosen_rows = np.unique(np.linspace(0, rows - 1, SAMPLED).astype(int))
    chosen_columns = np.unique(np.linspace(0, columns - 1, SAMPLED).astype(int))
    wanted = np.empty((len(chosen_rows), columns), np.float32)
    with closing(Files()) as files:
        for row, out in zip(chosen_rows.tolist(), wanted, strict=True):
            read_fp32(files, base, row * columns, out)
    best = np.zeros(len(chosen_rows))
    products, ours_square, theirs_square = np.zeros((len(chosen_columns), columns)), 0.0, 0.0
    for ours, theirs, _ in parts(base, model, columns):
        own, other = ours.reshape(-1, columns), theirs.reshape(-1, columns)
        best = np.maximum(best, (unit(wanted) @ unit(other).T).max(axis=1))
        picked = own[:, chosen_columns]
        products += picked.T @ other
        ours_square = ours_square + (picked**2).sum(0)
        theirs_square = theirs_square + (other**2).sum(0)
    lengths = np.sqrt(np.outer(ours_square, theirs_square))
    of_columns = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).max(axis=1)
    return float(max((best >= ALIKE).mean(), (of_columns >= ALIKE).mean()))


def unit(rows: Array) -> Array:
    """Rows (R, C), each of length 1; those of zeros as they are."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def notes(base: Checkpoint, model: Checkpoint) -> list[str]:
    """What the chat templates of the two folders tell."""
    has = {checkpoint.name: has_template(checkpoint.folder) for checkpoint in (base, model)}
    found = []
    if has[base.name] and not has[model.name]:
        found.append(
            f"{base.name} has a chat template and {model.name} has none: the two names may be exchanged. Weights do not tell "
            "which model was first."
        )
    elif has[base.name]:
        found.append(
            f"{base.name} has a chat template. Few base models have one (Qwen's do): make sure that it is no instruct model."
        )
    if not has[model.name]:
        found.append(f"{model.name} has no chat template, which a merge takes from its instruct model.")
    return found


def has_template(folder: Path) -> bool:
    settings = folder / CONFIGS[1]
    named = settings.is_file() and read_json(settings).get("chat_template")
    return bool(named) or any((folder / f"chat_template.{ending}").is_file() for ending in ("jinja", "json"))
