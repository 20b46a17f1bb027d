"""Merge methods against small tensors worked out by hand, and the checks of their parameters."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from langmerge.errors import UserError
from langmerge.merging.kernels import philox
from langmerge.merging.methods import METHODS, check_parameters
from langmerge.merging.spectral import isotropic
from langmerge.merging.tensors import Chunk, TensorInfo
from langmerge.merging.uniform import uniform

TENSOR = "model.layers.0.mlp.up_proj.weight"


def merge(method, base, models, each=(), rest=None, draw=None, step=2, layer=0, layers=1, name=TENSOR):
    """Merge one tensor, `step` of its weights at a time; `each` holds a mapping of parameters per
    model, `rest` the global ones.
    """
    method = METHODS[method]
    arguments = check_parameters(method, each or [{}] * len(models), rest or {})
    shape = np.shape(models[0])
    tensor = TensorInfo(name, shape, layer, layers)
    preparation_arguments, arguments = method.split(arguments.at(tensor))
    models = np.array(models, np.float32).reshape(len(models), -1)
    base = None if base is None else np.array(base, np.float32).reshape(-1)
    preparation = method.preparation(tensor, draw, **preparation_arguments) if method.preparation else None
    size = models.shape[1]
    if preparation and preparation.unit != "weight":
        step = shape[-1] if preparation.unit == "row" else size
    chunks = [Chunk(index, start, min(step, size - start)) for index, start in enumerate(range(0, size, step))]

    def bits(chunk):
        here = slice(chunk.start, chunk.start + chunk.size)
        return base[here].view(np.uint32) if method.takes_base else None, models[:, here].copy().view(np.uint32)

    current = preparation.first_pass() if preparation else None
    while current:
        assert not current.windows
        scans = {chunk: current.scan(chunk, *bits(chunk)) for chunk in reversed(chunks)}
        current = current.finish([scans[chunk] for chunk in chunks])
    merged = np.empty(size, np.float32)
    for chunk in chunks:
        prepared = preparation.for_chunk(chunk, *bits(chunk)) if preparation else None
        expression = method(*bits(chunk), prepared, arguments)
        assert expression.evaluate(merged[chunk.start : chunk.start + chunk.size].view(np.uint32)) == -1
    return merged.reshape(shape)


def weights(*values, **others):
    return [{"weight": value, **others} for value in values]


def drawing(*rows):
    """Random numbers written out by hand, one row per model."""

    def draw(model, start, size, below=None):
        numbers = np.array(rows[model], np.float32).reshape(-1)[start : start + size]
        return (numbers * 2**16).astype(np.uint16) if below is None else numbers < np.float32(below)

    return draw


def refused(name, each, rest, *words):
    with pytest.raises(UserError) as error:
        check_parameters(METHODS[name], each, rest)
    for word in words:
        assert word in str(error.value)


# ---- linear


def test_linear_normalizes_by_default():
    # (1*[2, 4] + 3*[6, 0]) / 4 = [20, 4] / 4
    np.testing.assert_array_equal(merge("linear", None, [[2, 4], [6, 0]], weights(1, 3)), [5, 1])


def test_linear_without_normalize_is_the_weighted_sum():
    np.testing.assert_array_equal(merge("linear", None, [[2, 4], [6, 0]], weights(1, 3), {"normalize": False}), [20, 4])


def test_linear_at_language_weight_one_is_half_and_half():
    np.testing.assert_array_equal(merge("linear", None, [[1, 8], [3, 4]], weights(1.0, 1.0)), [2, 6])


def test_linear_of_four_languages_at_a_quarter_is_a_half_and_four_eighths():
    # instruct 16; languages 8, 16, 24, 32: 16/2 + (8 + 16 + 24 + 32)/8 = 8 + 10
    assert merge("linear", None, [[16], [8], [16], [24], [32]], weights(1.0, 0.25, 0.25, 0.25, 0.25)) == 18


def test_linear_of_equal_models_is_that_model():
    model = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    np.testing.assert_array_equal(merge("linear", None, [model, model], weights(1, 1)), model)
    np.testing.assert_allclose(merge("linear", None, [model] * 3, weights(1, 0.3, 0.7)), model, rtol=3e-7)


# ---- task arithmetic


def test_task_arithmetic_adds_weighted_task_vectors():
    # tau: [1, -2] and [4, 2]; 1*[1, -2] + 0.5*[4, 2] = [3, -1]; + base [10, 20]
    np.testing.assert_array_equal(merge("task_arithmetic", [10, 20], [[11, 18], [14, 22]], weights(1, 0.5)), [13, 19])


def test_task_arithmetic_with_lambda_and_normalize():
    # as above, [3, -1] / 1.5 = [2, -2/3]; times lambda 3 = [6, -2]
    merged = merge("task_arithmetic", [10, 20], [[11, 18], [14, 22]], weights(1, 0.5), {"normalize": True, "lambda": 3})
    np.testing.assert_allclose(merged, [16, 18], rtol=1e-6)


def test_diploma_is_task_arithmetic():
    # theta_lang + alpha (theta_inst - theta_base), alpha = 0.6
    generator = np.random.default_rng(1)
    base, instruct, language = (generator.normal(size=20).astype(np.float32) for _ in range(3))
    merged = merge("task_arithmetic", base, [instruct, language], weights(0.6, 1))
    np.testing.assert_allclose(merged, language + 0.6 * (instruct - base), rtol=1e-5, atol=1e-6)


# ---- ties


def test_ties_trims_elects_and_averages_the_agreeing():
    # base 0. tau_1 = [4, -1, 3, 2], top half: [4, 0, 3, 0]; tau_2 = [-1, 5, 6, -2], top half: [0,
    # 5, 6, 0]. sums: [4, 5, 9, 0]. Agreeing: only 1, only 2, both, none. Means: 4, 5, 4.5, 0.
    merged = merge("ties", [0, 0, 0, 0], [[4, -1, 3, 2], [-1, 5, 6, -2]], weights(1, 1, density=0.5))
    np.testing.assert_array_equal(merged, [4, 5, 4.5, 0])


def test_ties_weights_enter_the_election():
    # tau 2 and -3. Weights 1, 1: sum -1, -3 is elected. Weights 2, 1: 4 - 3 = 1, positive: 4 over
    # its weight 2 = 2.
    assert merge("ties", [0], [[2], [-3]], weights(1, 1)) == -3
    assert merge("ties", [0], [[2], [-3]], weights(2, 1)) == 2


def test_ties_a_sum_of_zero_elects_plus():
    # tau 3 and -3: the sum is 0, so plus, so 3 alone
    assert merge("ties", [1], [[4], [-2]], weights(1, 1)) == 4


def test_ties_a_zero_agrees_with_nobody():
    # tau 0 and 4: the mean over the agreeing is 4, not 2
    assert merge("ties", [0], [[0], [4]], weights(1, 1)) == 4


def test_ties_normalizes_by_the_weights_of_the_agreeing():
    # tau 2 (w 1), 4 (w 0.5), -1 (w 1): weighted 2, 2, -1, sum 3, plus: (2 + 2) / 1.5; without
    # normalize 4
    models, each = [[2], [4], [-1]], weights(1, 0.5, 1)
    assert merge("ties", [0], models, each) == np.float32(4 / 1.5)
    assert merge("ties", [0], models, each, {"normalize": False}) == 4
    assert merge("ties", [0], models, each, {"normalize": False, "lambda": 0.5}) == 2


def test_ties_equal_magnitudes_at_the_threshold_go_by_index():
    # four weights of magnitude 1, density 0.5: the first two stay
    merged = merge("ties", [0, 0, 0, 0], [[1, -1, 1, -1]], weights(1, density=0.5))
    np.testing.assert_array_equal(merged, [1, -1, 0, 0])
    # 3 stays for sure, the first of the ones goes with it
    merged = merge("ties", [0, 0, 0, 0], [[1, 1, 3, 1]], weights(1, density=0.5))
    np.testing.assert_array_equal(merged, [1, 0, 3, 0])


def test_ties_keeps_the_integer_part_of_density_times_size():
    # int(0.7 * 4) = 2
    np.testing.assert_array_equal(merge("ties", [0, 0, 0, 0], [[1, 2, 3, 4]], weights(1, density=0.7)), [0, 0, 3, 4])
    # int(0.2 * 4) = 0, but one is kept unless density is 0 (base 0: tau = 4 where it is kept)
    np.testing.assert_array_equal(merge("ties", [0, 0, 0, 0], [[1, 2, 3, 4]], weights(1, density=0.2)), [0, 0, 0, 4])
    np.testing.assert_array_equal(merge("ties", [5, 5, 5, 5], [[1, 2, 3, 4]], weights(1, density=0.0)), [5, 5, 5, 5])


def test_ties_rescale_restores_the_l1_norm():
    # [1, 2, 3, 4] -> [0, 0, 3, 4]: norms 10 and 7
    merged = merge("ties", [0, 0, 0, 0], [[1, 2, 3, 4]], weights(1, density=0.5), {"rescale": True})
    np.testing.assert_allclose(merged, [0, 0, 30 / 7, 40 / 7], rtol=1e-6)


def test_each_model_has_its_own_density():
    # tau_1 whole, of tau_2 only the larger: sums [1, 2 + 4]
    each = [{"weight": 1, "density": 1.0}, {"weight": 1, "density": 0.5}]
    np.testing.assert_array_equal(merge("ties", [0, 0], [[1, 2], [3, 4]], each, {"normalize": False}), [1, 6])


# ---- dare


def test_dare_linear_keeps_below_density_and_restores_the_l1_norm():
    # tau = [1, -2, 3, 4]; kept where the number is < 0.5: [1, 0, 0, 4]; norms 10 and 5: times 2;
    # times weight 0.5
    draw = drawing([0.49, 0.5, 0.9, 0.0])
    for restored in (True, "l1"):
        merged = merge(
            "dare_linear", [0, 0, 0, 0], [[1, -2, 3, 4]], weights(0.5, density=0.5), {"rescale": restored}, draw
        )
        np.testing.assert_array_equal(merged, [1, 0, 0, 4])
    merged = merge("dare_linear", [0, 0, 0, 0], [[1, -2, 3, 4]], weights(0.5, density=0.5), {"rescale": False}, draw)
    np.testing.assert_array_equal(merged, [0.5, 0, 0, 2])


def test_dare_divides_by_the_density_by_default():
    # the paper's 1 / (1 - p): tau = [1, -2, 3, 4], kept [1, 0, 0, 4], / 0.25, times weight 0.5;
    # norms would give 10 / 5
    draw = drawing([0.2, 0.25, 0.9, 0.0])
    for given in ({}, {"rescale": "density"}):
        merged = merge("dare_linear", [0, 0, 0, 0], [[1, -2, 3, 4]], weights(0.5, density=0.25), given, draw)
        np.testing.assert_array_equal(merged, [2, 0, 0, 8])


def test_dare_linear_drops_each_model_by_its_own_numbers():
    draw = drawing([0.1, 0.9], [0.9, 0.1])
    merged = merge("dare_linear", [0, 0], [[1, 2], [3, 4]], weights(1, 1, density=0.5), {"rescale": False}, draw)
    np.testing.assert_array_equal(merged, [1, 4])


def test_dare_ties_sums_the_agreeing():
    # nothing dropped: tau 2, 4, -1, weights 1, 0.5, 1: weighted 2, 2, -1; plus; 4, not divided;
    # normalized 4 / 1.5
    models, each, draw = [[2], [4], [-1]], weights(1, 0.5, 1, density=0.5), drawing([0], [0], [0])
    assert merge("dare_ties", [0], models, each, {"rescale": False}, draw) == 4
    assert merge("dare_ties", [0], models, each, {"rescale": False, "normalize": True}, draw) == np.float32(4 / 1.5)


def test_dare_at_density_one_drops_nothing():
    draw = drawing([0.999, 0.999])
    np.testing.assert_array_equal(merge("dare_linear", [0, 0], [[1, 2]], weights(1), draw=draw), [1, 2])


def test_dare_whose_draw_drops_everything_is_the_base():
    np.testing.assert_array_equal(
        merge("dare_linear", [7, 7], [[1, 2]], weights(1, density=0.5), draw=drawing([0.9, 0.9])), [7, 7]
    )


def test_dare_keep_rate_and_norm_in_distribution():
    generator = np.random.default_rng(2)
    tau = generator.normal(size=(200, 500)).astype(np.float32)
    merged = merge(
        "dare_linear",
        np.zeros_like(tau),
        [tau],
        weights(1, density=0.3),
        {"rescale": True},
        partial(uniform, 5, "x"),
        step=10_000,
    )
    # 100,000 draws: the standard error of the rate is 0.0015
    assert np.count_nonzero(merged) / tau.size == pytest.approx(0.3, abs=0.006)
    assert np.abs(merged).sum(dtype=float) == pytest.approx(np.abs(tau).sum(dtype=float), rel=1e-5)
    # and so the rescaling is near the paper's 1 / density
    kept = merged != 0
    assert np.median(merged[kept] / tau[kept]) == pytest.approx(1 / 0.3, rel=0.02)


# ---- breadcrumbs


def test_breadcrumbs_drops_the_largest_and_the_smallest():
    # n = 10, density 0.5, gamma 0.2: k = 5, g = 2; ascending magnitudes 1..10, ranks [3, 8) stay:
    # 4, 5, 6, 7, 8
    tau = [10, -9, 8, -7, 6, -5, 4, -3, 2, -1]
    merged = merge("breadcrumbs", [0] * 10, [tau], weights(1, density=0.5, gamma=0.2))
    np.testing.assert_array_equal(merged, [0, 0, 8, -7, 6, -5, 4, 0, 0, 0])


def test_breadcrumbs_honours_density_before_gamma():
    # n = 10, density 0.9, gamma 0.2: 10 - 9 - 2 < 0, so the nine smallest stay
    merged = merge("breadcrumbs", [0] * 10, [np.arange(1, 11)], weights(1, density=0.9, gamma=0.2))
    np.testing.assert_array_equal(merged, [*range(1, 10), 0])


def test_breadcrumbs_of_a_tiny_tensor_at_the_papers_setting():
    # n = 10, density 0.9, gamma 0.01: g = 0, so the smallest is dropped and nothing else
    merged = merge("breadcrumbs", [0] * 10, [np.arange(1, 11)], weights(1, density=0.9))
    np.testing.assert_array_equal(merged, [0, *range(2, 11)])


def test_breadcrumbs_at_density_one_ignores_gamma():
    np.testing.assert_array_equal(merge("breadcrumbs", [0] * 4, [[1, 2, 3, 4]], weights(1, gamma=0.5)), [1, 2, 3, 4])


def test_breadcrumbs_equal_magnitudes_rank_by_index():
    # n = 4, density 0.5, gamma 0.25: ranks [1, 3) of four equal ones
    np.testing.assert_array_equal(
        merge("breadcrumbs", [0] * 4, [[1, 1, 1, 1]], weights(1, density=0.5, gamma=0.25)), [0, 1, 1, 0]
    )


def test_breadcrumbs_sums_with_weights():
    # density 0.5, gamma 0.25, n = 4: ranks [1, 3): of [1, 2, 3, 4]: 2, 3; of [4, 3, 2, 1]: 3, 2.
    # 1*[0, 2, 3, 0] + 2*[0, 3, 2, 0]
    merged = merge("breadcrumbs", [1] * 4, [[2, 3, 4, 5], [5, 4, 3, 2]], weights(1, 2, density=0.5, gamma=0.25))
    np.testing.assert_array_equal(merged, [1, 9, 8, 1])


def test_breadcrumbs_ties_elects_and_sums():
    # trimmed as above, with signs: [0, 2, 3, 0] and [0, -3, 2, 0]: sums -1 and 5; minus elects -3
    # alone, plus both: 5
    merged = merge("breadcrumbs_ties", [0] * 4, [[1, 2, 3, 4], [4, -3, 2, 1]], weights(1, 1, density=0.5, gamma=0.25))
    np.testing.assert_array_equal(merged, [0, -3, 5, 0])


# ---- della


def test_della_keeps_the_larger_of_a_row_more_likely():
    # a row of three, density 0.5, epsilon 0.2: probabilities 0.3, 0.5, 0.7 by ascending magnitude,
    # row by row
    draw = drawing([[0.4, 0.6, 0.4], [0.6, 0.6, 0.6]])
    # row 1: magnitudes 1, 3, 2 -> 0.3, 0.7, 0.5: kept no, yes, yes. row 2: 6, 5, 4 -> 0.7, 0.5,
    # 0.3: yes, no, no
    merged = merge(
        "della_linear",
        np.zeros((2, 3)),
        [[[1, -3, 2], [6, 5, 4]]],
        weights(1, density=0.5, epsilon=0.2),
        {"rescale": False},
        draw,
    )
    np.testing.assert_array_equal(merged, [[0, -3, 2], [6, 0, 0]])
    # norms 21 and 11
    merged = merge(
        "della_linear",
        np.zeros((2, 3)),
        [[[1, -3, 2], [6, 5, 4]]],
        weights(1, density=0.5, epsilon=0.2),
        {"rescale": True},
        draw,
    )
    np.testing.assert_allclose(merged, np.array([[0, -3, 2], [6, 0, 0]]) * 21 / 11, rtol=1e-6)


def test_della_divides_by_each_weights_probability_by_default():
    # as above; probabilities are rounded to a multiple of 2^-16
    draw = drawing([[0.4, 0.6, 0.4], [0.6, 0.6, 0.6]])
    for given in ({}, {"rescale": "density"}):
        merged = merge(
            "della_linear",
            np.zeros((2, 3)),
            [[[1, -3, 2], [6, 5, 4]]],
            weights(1, density=0.5, epsilon=0.2),
            given,
            draw,
        )
        np.testing.assert_allclose(merged, [[0, -3 / 0.7, 2 / 0.5], [6 / 0.7, 0, 0]], rtol=1e-4)


def test_della_rescales_each_model_by_its_own_density():
    # of the first all is kept, of the second nothing, of the third what is drawn: 3 * (1, 2) with
    # 0.4 and 0.6
    each = [{"weight": 1, "density": 1.0}, {"weight": 1, "density": 0.0}, {"weight": 1, "density": 0.5}]
    draw = drawing([0.99, 0.99], [0, 0], [0.3, 0.5])
    models = [[[8, 16]], [[100, 100]], [[3, 6]]]
    merged = merge("della_linear", [[0, 0]], models, [{**settings, "epsilon": 0.1} for settings in each], draw=draw)
    np.testing.assert_allclose(merged, [[8 + 3 / 0.4, 16 + 6 / 0.6]], rtol=1e-4)


def test_della_divides_the_only_weight_of_a_row_by_the_density():
    merged = merge(
        "della_linear", [[0], [0]], [[[1], [2]]], weights(1, density=0.25, epsilon=0.1), draw=drawing([[0.2], [0.3]])
    )
    np.testing.assert_array_equal(merged, [[4], [0]])


def test_della_is_unbiased_by_default_and_favours_large_weights_where_it_restores_the_norm():
    tau = np.random.default_rng(3).normal(size=(400, 500)).astype(np.float32)
    large = abs(tau) > np.quantile(abs(tau), 0.75)
    each, draw = weights(1, density=0.4, epsilon=0.3), partial(uniform, 5, "x")

    def share(rescale, chosen):
        merged = merge("della_linear", np.zeros_like(tau), [tau], each, {"rescale": rescale}, draw, step=10_000)
        return abs(merged[chosen]).sum(dtype=float) / abs(tau[chosen]).sum(dtype=float)

    # the standard error is below 0.01: 150,000 small ones, some kept with a probability of 0.1
    assert share("density", large) == pytest.approx(1, abs=0.02)
    assert share("density", ~large) == pytest.approx(1, abs=0.03)
    # mean probabilities of the two, by magnitude, are 0.625 and 0.36 or so; of all, 0.5
    assert share(True, large) > 1.1
    assert share(True, ~large) < 0.9


def test_della_equal_magnitudes_share_their_mean_rank():
    # ranks 0, 1, 2, 3 with probabilities 0.3 to 0.7; of four equal ones, all have the mean, 0.5
    each, rest = weights(1, density=0.5, epsilon=0.2), {"rescale": False}
    for number, kept in ((0.49, [[1, -1, 1, -1]]), (0.51, [[0, 0, 0, 0]])):
        merged = merge("della_linear", [[0] * 4], [[[1, -1, 1, -1]]], each, rest, drawing([number] * 4))
        np.testing.assert_array_equal(merged, kept)


def test_della_keeps_what_is_next_to_certain():
    each = weights(1, density=0.999995, epsilon=0.000001)
    merged = merge("della_linear", [[0] * 4], [[[1, 2, 3, 4]]], each, {"rescale": False}, drawing([0.9999] * 4))
    np.testing.assert_array_equal(merged, [[1, 2, 3, 4]])


def test_della_averages_the_agreeing():
    # all kept: tau 2, 4, -1, weights 1, 0.5, 1: (2 + 2) / 1.5
    models, each, draw = [[2], [4], [-1]], weights(1, 0.5, 1, density=0.5), drawing([0], [0], [0])
    assert merge("della", [0], models, each, {"rescale": False}, draw) == np.float32(4 / 1.5)
    assert merge("della", [0], models, each, {"rescale": False, "normalize": False}, draw) == 4


def test_della_at_density_one_is_ties_without_trimming():
    models, draw = [[2, 1], [4, -3]], drawing([0.99, 0.99], [0.99, 0.99])
    np.testing.assert_array_equal(
        merge("della", [0, 0], models, weights(1, 1), draw=draw), merge("ties", [0, 0], models, weights(1, 1))
    )


def test_della_epsilon_must_leave_probabilities():
    refused("della", weights(1, density=0.9), {}, "epsilon is 0.15", "density 0.9")


# ---- nearswap and slerp


def test_nearswap_swaps_what_is_near_and_moves_the_rest_by_t():
    # t = 0.5: differences 0.25, -0.5 and 2, -4: swapped, swapped, moved by 0.5 each
    np.testing.assert_array_equal(
        merge("nearswap", [1, 1, 1, 1], [[1.25, 0.5, 3, -3]], rest={"t": 0.5}), [1.25, 0.5, 1.5, 0.5]
    )


def test_nearswap_at_zero_is_the_base_and_at_a_large_t_the_other():
    base, other = [1, 0.1, 3], [1, 0.30000001, -3]
    np.testing.assert_array_equal(merge("nearswap", base, [other], rest={"t": 0}), np.float32(base))
    np.testing.assert_array_equal(merge("nearswap", base, [other], rest={"t": 10}), np.float32(other))


def test_slerp_ends():
    np.testing.assert_allclose(merge("slerp", [3, 0], [[0, 5]], rest={"t": 0}), [3, 0], atol=1e-6)
    np.testing.assert_allclose(merge("slerp", [3, 0], [[0, 5]], rest={"t": 1}), [0, 5], atol=1e-6)


def test_slerp_half_way_of_a_right_angle():
    # phi = pi/2: sin(pi/4) / sin(pi/2) = 0.7071 of each
    np.testing.assert_allclose(merge("slerp", [1, 0], [[0, 1]], rest={"t": 0.5}), [0.70710678, 0.70710678], rtol=1e-6)


def test_slerp_a_third_of_sixty_degrees():
    # phi = 60: sin 40 / sin 60 = 0.742227, sin 20 / sin 60 = 0.394931; other = (0.5, 0.866025)
    merged = merge("slerp", [1, 0], [[0.5, 0.8660254]], rest={"t": 1 / 3})
    np.testing.assert_allclose(merged, [0.742227 + 0.394931 / 2, 0.394931 * 0.8660254], rtol=1e-5)  # = (cos 20, sin 20)


def test_slerp_of_parallel_vectors_is_linear():
    np.testing.assert_array_equal(merge("slerp", [1, 2], [[3, 6]], rest={"t": 0.25}), [1.5, 3])
    np.testing.assert_array_equal(merge("slerp", [1, 2], [[-1, -2]], rest={"t": 0.25}), [0.5, 1])


def test_slerp_of_zeros_is_finite():
    np.testing.assert_array_equal(merge("slerp", [0, 0], [[0, 0]], rest={"t": 0.5}), [0, 0])


# ---- layers of two models

OUTSIDE = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")


def swapped(layer, layers, rest, name=TENSOR):
    """Of an instruct model of zeros and a language model of eights."""
    return merge("layer_swap", [0], [[8]], rest=rest, layer=layer, layers=layers, name=name).item()


def test_layer_swap_takes_the_outer_layers_and_averages_beside_them():
    rest = {"bottom": 3, "top": 2, "transition": 1}
    assert [swapped(layer, 12, rest) for layer in range(12)] == [8, 8, 8, 4, 0, 0, 0, 0, 0, 4, 8, 8]
    rest = {"bottom": 1, "top": 1, "transition": 2}
    assert [swapped(layer, 7, rest) for layer in range(7)] == [8, 4, 4, 0, 4, 4, 8]
    rest = {"bottom": 2, "top": 1, "transition": 0}
    assert [swapped(layer, 5, rest) for layer in range(5)] == [8, 8, 0, 0, 8]


def test_layer_swap_by_default_is_the_papers():
    assert [swapped(layer, 32, {}) for layer in range(32)] == [8] * 5 + [4] + [0] * 23 + [4] + [8] * 2


def test_layer_swap_takes_what_is_outside_with_the_layers_beside_it():
    assert [swapped(None, 32, {}, name) for name in OUTSIDE] == [8, 8, 8]
    # nothing is swapped at the bottom, or at the top: no border there, either
    assert [swapped(None, 4, {"bottom": 0, "top": 1}, name) for name in OUTSIDE] == [0, 8, 8]
    assert [swapped(layer, 4, {"bottom": 0, "top": 1}) for layer in range(4)] == [0, 0, 4, 8]
    assert [swapped(None, 4, {"bottom": 1, "top": 0}, name) for name in OUTSIDE] == [8, 0, 0]
    assert [swapped(layer, 4, {"bottom": 1, "top": 0}) for layer in range(4)] == [8, 4, 0, 0]


def test_layer_swap_of_too_few_layers():
    # 5 + 1 + 1 + 2
    assert [swapped(layer, 9, {}) for layer in range(9)] == [8, 8, 8, 8, 8, 4, 4, 8, 8]
    with pytest.raises(UserError, match="needs 9 layers or more; the model has 8") as error:
        swapped(0, 8, {})
    assert "bottom 5, top 2 and transition 1" in str(error.value)


def test_layer_swap_counts_layers():
    refused("layer_swap", [{}], {"bottom": 2.5}, "bottom is 2.5", "whole number")
    refused("layer_swap", [{}], {"top": True}, "top is True", "whole number")
    refused("layer_swap", [{}], {"top": -1}, "top is -1", "0 <= top")
    refused("layer_swap", [{}], {"bottom": [5, 2]}, "bottom is [5, 2]", "one value")


def test_edge_blend_goes_along_the_arc_in_the_outer_layers():
    # a right angle; 0.3 of instruct is sin 27 of it and sin 63 of language; 0.5 is sin 45 of each
    blended = [merge("edge_blend", [1, 0], [[0, 1]], layer=layer, layers=6) for layer in range(6)]
    outer, inner = [0.4539905, 0.8910065], [0.70710678, 0.70710678]
    np.testing.assert_allclose(blended, [outer, inner, [1, 0], [1, 0], inner, outer], rtol=1e-6)
    # of three layers, the middle one is the second from both ends
    blended = [
        merge("edge_blend", [1, 0], [[0, 1]], rest={"t_outer": 1, "t_inner": 0}, layer=layer, layers=3)
        for layer in range(3)
    ]
    np.testing.assert_array_equal(blended, [[1, 0], [0, 1], [1, 0]])


def test_edge_blend_takes_embeddings_and_head_from_the_language():
    embeddings, norm, head = OUTSIDE
    for name in (embeddings, head):
        np.testing.assert_array_equal(
            merge("edge_blend", [[1, 2]], [[[3, 4]]], layer=None, layers=6, name=name), [[3, 4]]
        )
    np.testing.assert_array_equal(merge("edge_blend", [1, 2], [[3, 4]], layer=None, layers=6, name=norm), [1, 2])


# ---- task vectors weighed by their size


def test_metagpt_weighs_by_squares():
    # squares 3 and 9: weights 1/4, 3/4
    base, models = [1, 1, 1, 1], [[2, 2, 2, 1], [1, 1, 1, 4]]
    np.testing.assert_array_equal(merge("metagpt", base, models), [1.25, 1.25, 1.25, 3.25])
    np.testing.assert_array_equal(merge("metagpt", base, models, rest={"lambda": 2}), [1.5, 1.5, 1.5, 5.5])


def test_metagpt_weighs_over_the_whole_model():
    # a tensor with task vectors [2], [1] and one with [0, 1], [1, 1]: squares 4 + 1 and 1 + 2
    norms = METHODS["metagpt"].preparation(TensorInfo("a", (1,)), None)
    tensors = [np.array([[0], [2], [1]], np.float32), np.array([[0, 0], [0, 1], [1, 1]], np.float32)]
    chunks = [
        (Chunk(0, 0, bits.shape[1]), bits[0], bits[1:]) for bits in (tensor.view(np.uint32) for tensor in tensors)
    ]
    only = norms.first_pass()
    assert only.finish([only.scan(*chunk) for chunk in chunks]) is None
    assert norms.for_chunk(*chunks[0]) == [5, 3]


def test_sce_weighs_by_squares_and_erases_the_minority():
    # squares 22 and 14. Signs of the sums: +, -, +, +. Both agree on the first two; then only the
    # second, only the first (0 is no sign)
    merged = merge("sce", [1, 1, 1, 1], [[5, 0, -1, 2], [3, 0, 4, 1]])
    np.testing.assert_allclose(merged, [1 + (22 * 4 + 14 * 2) / 36, 0, 4, 2], rtol=1e-6)


def test_sce_selects_where_models_differ():
    # variances 1, 0, 6.25, 0.25: three are not 0
    base, models = [0, 0, 0, 0], [[4, -1, -2, 1], [2, -1, 3, 0]]
    np.testing.assert_array_equal(merge("sce", base, models, rest={"select_topk": 0.5}), [0, 0, 3, 0])
    # two: squares 16 + 4 and 4 + 9
    merged = merge("sce", base, models, rest={"select_topk": 0.7})
    np.testing.assert_allclose(merged, [(20 * 4 + 13 * 2) / 33, 0, 3, 0], rtol=1e-6)
    np.testing.assert_array_equal(merge("sce", base, models, rest={"select_topk": 0}), base)


def test_sce_equal_variances_go_by_index():
    for share, expected in ((0.5, [1, -1, 0, 0]), (0.8, [1, -1, 1, 0]), (0.25, [1, 0, 0, 0])):
        np.testing.assert_array_equal(
            merge("sce", [0] * 4, [[1, -1, 1, 1], [0] * 4], rest={"select_topk": share}), expected
        )


@pytest.mark.parametrize("digits", [1, 2, 6])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.77, 0.999])
def test_sce_selects_the_exact_rank(digits, share):
    tau = np.random.default_rng(4).normal(size=(3, 1000)).round(digits).astype(np.float32)
    variance = tau.var(axis=0, dtype=np.float64).astype(np.float32)
    first = np.argsort(-variance, kind="stable")[: int(np.count_nonzero(variance) * share)]
    tau[:, tau.sum(axis=0) == 0] += 10  # so that nothing selected comes out as 0; the same variance
    merged = merge("sce", [0] * 1000, tau, rest={"select_topk": share}, step=64)
    np.testing.assert_array_equal(np.flatnonzero(merged), np.sort(first))


def test_sce_below_the_floor_models_are_equal():
    # squares 9 and 1, their means, of one weight, sum to 10
    assert merge("sce", [0], [[3], [1]]) == pytest.approx(2.8)
    assert merge("sce", [0], [[3], [1]], rest={"floor": 9.9}) == pytest.approx(2.8)
    assert merge("sce", [0], [[3], [1]], rest={"floor": 10.1}) == 2


# ---- task vectors' matrices, by their singular values


def textbook_iso(matrix):
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return s.mean() * u @ vt


def textbook_tsv(matrices):
    count = min(matrices[0].shape) // len(matrices)
    us, ss, vts = zip(*(np.linalg.svd(matrix, full_matrices=False) for matrix in matrices), strict=True)
    tops = np.hstack([u[:, :count] for u in us]), np.hstack([vt[:count].T for vt in vts])
    (pu, _, qu), (pv, _, qv) = (np.linalg.svd(top, full_matrices=False) for top in tops)
    return pu @ qu @ np.diag(np.concatenate([s[:count] for s in ss])) @ (pv @ qv).T


def test_iso_c_of_diagonals():
    # the sum is diag(3, -1): singular values 3 and 1, their mean 2
    models = [[[3, 0], [0, 1]], [[0, 0], [0, -2]]]
    np.testing.assert_allclose(merge("iso_c", np.zeros((2, 2)), models), [[2, 0], [0, -2]], atol=1e-12)
    merged = merge("iso_c", np.ones((2, 2)), np.array(models) + 1, rest={"lambda": 0.5})
    np.testing.assert_allclose(merged, [[2, 1], [1, 0]], rtol=1e-6)
    # wide, tall
    wide = np.array([[3, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(merge("iso_c", np.zeros((2, 3)), [wide]), [[2, 0, 0], [0, 0, 2]], atol=1e-12)
    np.testing.assert_allclose(merge("iso_c", np.zeros((3, 2)), [wide.T]), [[2, 0], [0, 0], [0, 2]], atol=1e-12)
    # a singular value of 0 is one of the mean's, but has no direction
    np.testing.assert_allclose(merge("iso_c", np.zeros((2, 2)), [[[4, 0], [0, 0]]]), [[2, 0], [0, 0]], atol=1e-12)


def test_tsv_m_of_diagonals():
    # rank 2, so one direction of each model: the first axis with 5, the second with 4
    merged = merge("tsv_m", np.zeros((2, 2)), [np.diag([5, 1]), np.diag([1, 4])])
    np.testing.assert_allclose(merged, np.diag([5, 4]), atol=1e-12)
    # the same direction twice, U = [e1, e1]: the nearest is [e1, e1] / sqrt 2, on both sides
    merged = merge("tsv_m", np.zeros((2, 2)), [np.diag([5, 1]), np.diag([4, 1])], rest={"lambda": 2})
    np.testing.assert_allclose(merged, np.diag([9, 0]), atol=1e-12)
    # a matrix with fewer rows than models: of each, one direction
    merged = merge("tsv_m", np.zeros((1, 2)), [[[3, 0]], [[0, 1]]])
    np.testing.assert_allclose(merged, [[3 / 2**0.5, 1 / 2**0.5]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (30, 30), (17, 50)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_singular_values_are_the_textbooks(shape, count):
    tau = np.random.default_rng(5).normal(size=(count, *shape)).astype(np.float32)
    base = np.zeros(shape)
    np.testing.assert_allclose(
        merge("iso_c", base, tau), textbook_iso(tau.sum(axis=0, dtype=float)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(merge("tsv_m", base, tau), textbook_tsv(tau.astype(float)), rtol=1e-5, atol=1e-6)


def test_singular_values_of_a_wide_range():
    """As small as 1e-5 of the largest they still count, where a task vector has them."""
    generator = np.random.default_rng(6)
    u, v = (np.linalg.qr(generator.normal(size=(40, 40)))[0] for _ in range(2))
    matrix = u * np.geomspace(1, 1e-5, 40) @ v.T
    np.testing.assert_allclose(isotropic(matrix), textbook_iso(matrix), atol=1e-6)
    # of rank 3, its other directions are left out
    low = (u * np.array([3, 2, 1] + [0] * 37)) @ v.T
    np.testing.assert_allclose(isotropic(low), 6 / 40 * u[:, :3] @ v[:, :3].T, atol=1e-9)
    np.testing.assert_array_equal(isotropic(np.zeros((3, 2))), np.zeros((3, 2)))


@pytest.mark.parametrize("name", ["iso_c", "tsv_m"])
def test_what_is_no_matrix_of_a_layer_is_averaged(name):
    # a vector; embeddings and head
    np.testing.assert_array_equal(merge(name, [1, 1], [[2, 3], [4, 1]]), [3, 2])
    np.testing.assert_array_equal(merge(name, [1, 1], [[2, 3], [4, 1]], rest={"lambda": 0.5}), [2, 1.5])
    for tensor in (OUTSIDE[0], OUTSIDE[2]):
        merged = merge(name, [[1, 1]], [[[2, 3]], [[4, 1]]], layer=None, name=tensor)
        np.testing.assert_array_equal(merged, [[3, 2]])


@pytest.mark.parametrize(("name", "known"), [("iso_c", (1, 2)), ("tsv_m", (1, 2)), ("sce", None)])
def test_the_source_of_a_nan_is_found(name, known):
    for broken in range(3):
        sources = np.ones((3, 2), np.float32)
        sources[broken, 1] = np.nan
        given = known or ((sources[1:] - sources[0]), [0.5, 0.5])
        bits = sources.view(np.uint32)
        expression = METHODS[name](bits[0], bits[1:], given, {} if name == "sce" else {"lambda_": 1.0})
        assert expression.evaluate(np.empty(2, np.uint32)) == broken


# ---- every method


@pytest.mark.parametrize("name", sorted(METHODS))
def test_equal_models_stay_what_they_are(name):
    """No method moves away from where base and models agree."""
    model = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)
    method = METHODS[name]
    own = {"weight": 1.0} if "weight" in method.per_model else {}
    each = [own] * (1 if method.takes_other else 2)
    for layer in (0, 5, 16):
        rest = {"t": 0.5} if "t" in method.overall else {}
        merged = merge(name, model, [model] * len(each), each, rest, partial(uniform, 0, "x"), layer=layer, layers=32)
        np.testing.assert_allclose(merged, model, rtol=1e-6)


# ---- random numbers


def test_random_numbers_depend_on_seed_model_and_tensor_only():
    first, kept = uniform(1, "a", 0, 0, 5000), uniform(1, "a", 0, 0, 5000, below=0.3)
    for other in (uniform(2, "a", 0, 0, 5000), uniform(1, "a", 1, 0, 5000), uniform(1, "b", 0, 0, 5000)):
        assert not np.array_equal(first, other)
    # a weight's number is its index's, wherever one begins
    for start, size in ((0, 7), (1, 1), (1023, 2), (1024, 1024), (3000, 2000)):
        here = slice(start, start + size)
        np.testing.assert_array_equal(first[here], uniform(1, "a", 0, start, size))
        np.testing.assert_array_equal(kept[here], uniform(1, "a", 0, start, size, below=0.3))


def test_random_numbers_are_philox():
    """The known answer of the Random123 distribution: philox4x32, 10 rounds, counter 0, key 0."""
    words = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    halves = np.empty((1, 8, 256), np.uint16)
    philox(np.uint32(0), np.uint32(0), 0, None, halves)
    assert halves[0, :, 0].tolist() == [half for word in words for half in (word & 0xFFFF, word >> 16)]
    # the upper 24 bits of each are below any larger share, and not below their own
    for which, word in enumerate(words):
        for more in (0, 1):
            below = np.empty((1, 4, 256), bool)
            philox(np.uint32(0), np.uint32(0), 0, np.float32(((word >> 8) + more) * 2**-24), below)
            assert below[0, which, 0] == more


def test_random_numbers_do_not_change_between_versions():
    """Written down once, so that an old recipe and seed give the old model."""
    assert uniform(0, "x", 0, 0, 4).tolist() == [3257, 49527, 43330, 20191]
    # the upper 24 bits of the same four words
    for which, word in enumerate([343564, 13773505, 11992233, 8047438]):
        for more in (0, 1):
            assert uniform(0, "x", 0, which, 1, below=(word + more) * 2**-24).item() == more


def test_random_numbers_are_uniform():
    counts, _ = np.histogram(uniform(7, "x", 0, 0, 100_000), bins=10, range=(0, 2**16))
    assert np.abs(counts - 10_000).max() < 500  # five standard deviations
    for share in (0.01, 0.5, 0.99):
        assert (
            abs(uniform(7, "x", 0, 0, 100_000, below=share).mean() - share) < 5 * (share * (1 - share) / 100_000) ** 0.5
        )


# ---- parameters


def test_parameters_of_the_table():
    ties = METHODS["ties"]
    assert (ties.name, ties.needs_base, ties.min_models, ties.max_models) == ("ties", True, 2, None)
    assert list(ties.per_model) == ["weight", "density"]
    assert {name: parameter.default for name, parameter in ties.overall.items()} == {
        "normalize": True,
        "rescale": False,
        "lambda": 1.0,
    }
    assert (METHODS["linear"].needs_base, METHODS["slerp"].max_models) == (False, 2)


def test_a_global_value_holds_for_models_without_their_own():
    arguments = check_parameters(METHODS["ties"], [{"weight": 1, "density": 0.9}, {}], {"weight": 2, "density": 0.5})
    arguments = arguments.at(TensorInfo("", ()))
    assert arguments["weight"] == (1.0, 2.0)
    assert arguments["density"] == (0.9, 0.5)


def test_refused_parameters():
    refused("linear", [{}, {"weight": 1}], {}, "models[0]", "weight is missing")
    refused("linear", weights(1, desnity=0.5), {}, "models[0]", "'desnity'", "weight", "normalize")
    refused("linear", weights(1, density=0.5), {}, "linear has no parameter 'density'")
    refused("ties", weights(1, normalize=False), {}, "normalize", "Move it to the global")
    refused("slerp", [{}], {}, "t is missing")
    refused("slerp", [{"t": 0.5}], {}, "Move it to the global")
    refused("slerp", [{}] * 5, {"t": 0.5}, "exactly 2 models", "found 5")
    refused("linear", weights(float("nan")), {}, "nan", "finite number")
    refused("linear", weights("1"), {}, "'1'", "number")
    refused("linear", weights(True), {}, "True", "number")
    refused("ties", weights(1, density=1.5), {}, "density is 1.5", "0 <= density <= 1")
    refused("ties", weights(1), {"normalize": 1}, "normalize is 1", "true or false")


@pytest.mark.parametrize("name", ["linear", "ties"])
def test_weights_that_sum_to_zero_cannot_be_normalized(name):
    refused(name, weights(1, -1), {}, "1, -1", "sum to 0", "normalize")


def test_weights_that_sum_to_zero_are_fine_without_normalize():
    assert merge("task_arithmetic", [5], [[6], [8]], weights(1, -1)) == 3
