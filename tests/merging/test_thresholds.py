"""Thresholds of a tensor's magnitudes, against sorting all of them."""

from __future__ import annotations

import numpy as np
import pytest

from langmerge.merging.passes.thresholds import (
    DESCENDING,
    WINDOW,
    WINDOWS,
    SearchRange,
    Threshold,
    collect,
    keys_of,
    upper_histogram,
)
from langmerge.merging.tensors import Chunk

SIZE, STEP = 700_001, 20_000
CHUNKS = [Chunk(index, start, min(STEP, SIZE - start)) for index, start in enumerate(range(0, SIZE, STEP))]


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


def search(thresholds: list[Threshold], base: np.ndarray, model: np.ndarray) -> tuple[list[bool], float]:
    """One pass over the tensor: whether each threshold was where it was expected; the share of the
    weights that were collected.
    """
    collected, below, count = [], 0, 0
    for chunk in CHUNKS:
        here = slice(chunk.start, chunk.start + chunk.size)
        indices, bits, before = collect([(model[here], thresholds)], chunk, base[here], model[None, here])
        assert (bits[1] == model[here][indices]).all()
        keys = [each.search.keys_among(chunk, keys_of(bits[0], bits[1], each.flip)) for each in thresholds]
        collected.append([np.unique(each, return_counts=True) for each in keys])
        below, count = below + before, count + indices.size
    settled = [
        threshold.settle(int(before), keys)
        for threshold, before, *keys in zip(thresholds, below, *collected, strict=True)
    ]
    return settled, count / SIZE


@pytest.mark.parametrize("flip", [0, DESCENDING])
@pytest.mark.parametrize("ranks", [(0, 1), (7_000, SIZE // 2), (SIZE // 2 + 1, SIZE - 1), (SIZE, SIZE)])
@pytest.mark.parametrize("kind", ["bf16", "fp32", "mostly equal", "half untouched", "growing", "equal", "two values"])
@pytest.mark.parametrize("sampled", [True, False])
def test_thresholds_are_where_a_stable_sort_has_them(kind, ranks, flip, sampled):
    base, model = tensors(kind)
    keys = keys_of(base, model, flip)
    order = np.argsort(keys, kind="stable")
    thresholds = [Threshold(rank, flip) for rank in ranks]
    starts = ((np.arange(WINDOWS) + np.random.default_rng(0).random(WINDOWS)) * (SIZE - WINDOW) / WINDOWS).astype(int)
    for threshold in thresholds:
        if sampled:
            threshold.search = threshold.range_from_sample(keys[starts[:, None] + np.arange(WINDOW)], SIZE)
        else:
            threshold.search = threshold.range_from_histogram(upper_histogram(keys), SIZE)
    settled, share = search(thresholds, base, model)
    assert all(settled)
    # However many weights have the threshold's key: the sample also tells in which chunks to search
    # for those.
    assert not sampled or share < 0.25
    for threshold in thresholds:
        before = np.concatenate([threshold.before(chunk, keys[chunk.start :][: chunk.size]) for chunk in CHUNKS])
        assert (np.flatnonzero(before) == np.sort(order[: threshold.rank])).all()
        for chunk in CHUNKS:
            bound, here = threshold.bound(chunk), slice(chunk.start, chunk.start + chunk.size)
            assert bound is None or ((keys[here] < bound) == before[here]).all()
        # The same among some of the weights, of which only those in the divided chunk are known by
        # their chunk.
        some = np.random.default_rng(1).random(SIZE) < 0.3
        begin = CHUNKS[threshold.chunk].start
        some[begin : begin + STEP] = True
        ends = [np.count_nonzero(some[:end]) for end in (begin, begin + STEP)]
        assert (threshold.divide(keys[some], *ends) == before[some]).all()


@pytest.mark.parametrize("rank", [1, SIZE // 2, SIZE])
def test_a_threshold_that_is_not_where_it_was_expected_is_noticed(rank):
    base, model = tensors("bf16")
    keys = keys_of(base, model, 0)
    quarter, third = (int(np.partition(keys, SIZE // part)[SIZE // part]) for part in (4, 3))
    threshold = Threshold(rank)
    threshold.search = SearchRange((quarter, 0), (third, SIZE), 0.1)
    assert search([threshold], base, model)[0] == [False]
