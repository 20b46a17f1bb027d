"""Cuts of a tensor's magnitudes, against sorting all of them."""

from __future__ import annotations

import numpy as np
import pytest

from langmerge.merging.ranks import DESCENDING, RUN, RUNS, Cut, collect, counted, keys_of
from langmerge.merging.survey import Part

SIZE, STEP = 700_001, 20_000
PARTS = [Part(index, start, min(STEP, SIZE - start)) for index, start in enumerate(range(0, SIZE, STEP))]


def bf16(values: np.ndarray) -> np.ndarray:
    """Their bits, rounded towards 0."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def tensors(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A base and a model."""
    generator = np.random.default_rng(5)
    base = 0.02 * generator.standard_normal(SIZE)
    change = 0.001 * generator.standard_normal(SIZE)
    match kind:
        case "mostly equal":
            change[generator.random(SIZE) < 0.7] = 0
        case "half untouched":  # as the embeddings of words that training has not seen
            change[: SIZE // 2] = 0
        case "growing":
            change *= np.linspace(0.1, 3, SIZE)
        case "equal":
            change[:] = 0
        case "two values":
            base[:], change = 1, generator.integers(1, 3, SIZE)
    if kind == "fp32":
        return base.astype(np.float32).view(np.uint32), (base + change).astype(np.float32).view(np.uint32)
    return bf16(base), bf16(base + change)


def search(cuts: list[Cut], base: np.ndarray, model: np.ndarray) -> tuple[list[bool], float]:
    """One pass over the tensor: whether each cut was where it was expected, and the share of the weights that had to be remembered."""
    found, below, count = [], 0, 0
    for part in PARTS:
        here = slice(part.start, part.start + part.size)
        indices, bits, less = collect([(model[here], cuts)], part, base[here], model[None, here])
        assert (bits[1] == model[here][indices]).all()
        keys = [cut.among(part, keys_of(bits[0], bits[1], cut.flip)) for cut in cuts]
        found.append([np.unique(each, return_counts=True) for each in keys])
        below, count = below + less, count + indices.size
    return [cut.settle(int(less), parts) for cut, less, *parts in zip(cuts, below, *found, strict=True)], count / SIZE


@pytest.mark.parametrize("flip", [0, DESCENDING])
@pytest.mark.parametrize("ranks", [(0, 1), (7_000, SIZE // 2), (SIZE // 2 + 1, SIZE - 1), (SIZE, SIZE)])
@pytest.mark.parametrize("kind", ["bf16", "fp32", "mostly equal", "half untouched", "growing", "equal", "two values"])
@pytest.mark.parametrize("sampled", [True, False])
def test_cuts_are_where_a_stable_sort_has_them(kind, ranks, flip, sampled):
    base, model = tensors(kind)
    keys = keys_of(base, model, flip)
    order = np.argsort(keys, kind="stable")
    cuts = [Cut(rank, flip) for rank in ranks]
    starts = ((np.arange(RUNS) + np.random.default_rng(0).random(RUNS)) * (SIZE - RUN) / RUNS).astype(int)
    for cut in cuts:
        if sampled:
            cut.guess(keys[starts[:, None] + np.arange(RUN)], SIZE)
        else:
            cut.expect(counted(keys), SIZE)
    settled, share = search(cuts, base, model)
    assert all(settled)
    # However many weights have the cut's key: those in which parts are to be searched, says the sample, too.
    assert not sampled or share < 0.25
    for cut in cuts:
        before = np.concatenate([cut.before(part, keys[part.start :][: part.size]) for part in PARTS])
        assert (np.flatnonzero(before) == np.sort(order[: cut.rank])).all()
        for part in PARTS:
            bound, here = cut.bound(part), slice(part.start, part.start + part.size)
            assert bound is None or ((keys[here] < bound) == before[here]).all()
        # Divided again among some of the weights, without knowing where these are but for the part that the cut divides.
        some = np.random.default_rng(1).random(SIZE) < 0.3
        begin = PARTS[cut.index].start
        some[begin : begin + STEP] = True
        ends = [np.count_nonzero(some[:end]) for end in (begin, begin + STEP)]
        assert (cut.divide(keys[some], *ends) == before[some]).all()


@pytest.mark.parametrize("rank", [1, SIZE // 2, SIZE])
def test_a_cut_that_is_not_where_it_was_expected_is_noticed(rank):
    base, model = tensors("bf16")
    keys = keys_of(base, model, 0)
    cut = Cut(rank)
    cut.first, cut.last = (
        (int(np.partition(keys, SIZE // 4)[SIZE // 4]), 0),
        (int(np.partition(keys, SIZE // 3)[SIZE // 3]), SIZE),
    )
    assert search([cut], base, model)[0] == [False]
