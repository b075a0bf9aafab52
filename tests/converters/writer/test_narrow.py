from __future__ import annotations

import numpy as np

from edgeq.converters.writer import narrow


def test_searched_scales_have_less_error_than_those_that_clip_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 400)).astype(np.float32)
    rows[0, 0] = 30  # one large weight: to keep it would ruin the others or be the lesser evil
    rows[1] = 0
    scales = narrow.search_scales(rows, -8, 7)

    def errors(chosen: np.ndarray) -> np.ndarray:
        whole = narrow.round_rows(rows, chosen, -8, 7)
        return ((rows - whole * chosen[:, np.newaxis]) ** 2).sum(axis=1)

    widest = np.abs(rows).max(axis=1).clip(1e-6) / 7
    assert np.all(errors(scales) <= errors(widest))
    assert np.all(errors(scales)[2:] < 0.7 * errors(widest)[2:])
    # A finer search around each finds little that is better.
    for share in np.linspace(0.8, 1.2, 41, dtype=np.float32):
        assert np.all(errors(scales) <= errors(scales * share) * 1.02)


def test_sums_of_a_channel_are_kept_within_half_a_step() -> None:
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(50, 64)) + 0.3).astype(np.float32)
    scales = np.full(50, 0.5, np.float32)
    plain, kept = (f(rows, scales, -7, 7) for f in (narrow.round_rows, narrow.round_keeping_sums))
    sums = [np.abs((rows / 0.5 - whole).sum(axis=1)) for whole in (plain, kept)]
    assert np.max(sums[0]) > 2
    assert np.max(sums[1]) <= 0.5001
    assert np.max(np.abs(rows / 0.5 - kept)) < 1  # up or down, never further
    assert np.max(np.abs(kept)) == 7


def test_the_weights_nearest_to_the_middle_are_rounded_the_other_way() -> None:
    rows = np.array(
        [
            [0.4, 0.3, 0.45, 0.1],  # 1.25 too little: the third goes up
            [-0.4, -0.3, -0.45, -0.1],
            [0.4, 0.45, 0.48, 0.27],  # 1.6: two go up
            [2.6, 0.3, 0.3, -0.1],  # 2.6 was rounded up, so it cannot go further up
            [7.45, 7.4, 0.2, 0.1],  # what is at the limit stays there; 1.15 is missing
            [0.1, 0.1, 0.1, 0.1],  # less than half a step
            [9.5, -0.3, 0.2, -0.1],  # only one can make up for what is beyond the limit
        ],
        np.float32,
    )
    found = narrow.round_keeping_sums(rows * 2, np.array([2.0], np.float32), -7, 7)
    np.testing.assert_array_equal(
        found,
        [
            [0, 0, 1, 0],
            [0, 0, -1, 0],
            [0, 1, 1, 0],
            [3, 0, 0, 0],
            [7, 7, 1, 0],
            [0, 0, 0, 0],
            [7, 0, 1, 0],
        ],
    )


def test_a_scale_is_fitted_to_its_integers() -> None:
    rows = np.array([[3.1, 3.1, -3.1], [0.7, -0.7, 0.4]], np.float32)
    scales = narrow.search_scales(rows, -7, 7)
    whole = narrow.round_rows(rows, scales, -7, 7)
    np.testing.assert_allclose(whole * scales[:, np.newaxis], rows, rtol=1e-6)
    # In general, to what minimizes the squared error with them.
    rows = np.random.default_rng(5).normal(size=(40, 100)).astype(np.float32)
    scales = narrow.search_scales(rows, -7, 7)
    whole = narrow.round_rows(rows, scales, -7, 7)
    best = (rows * whole).sum(axis=1) / (whole**2).sum(axis=1)
    assert np.mean(np.abs(scales / best - 1)) < 0.002
    # One value of 14 among ones, which a scale of 2 would round to 0 or 2.
    outlier = np.array([[14.0, *[1.0] * 400]], np.float32)
    (scale,) = narrow.search_scales(outlier, -7, 7)
    assert 0.9 < scale < 1.2


WEIGHTS = np.array([[1.27, -0.254], [0.638, 0.1], [0.002, 0.1271]], np.float32)


def test_weights_are_stored_along_their_channels() -> None:
    made = narrow.store_weights(WEIGHTS, "int8", (-127, 127), 1, is_summed=False)
    np.testing.assert_allclose(made.scales, [0.01, 0.002], rtol=1e-6)
    np.testing.assert_array_equal(made.values, [[127, -127], [64, 50], [0, 64]])
    assert (made.dtype, made.axis, made.zero_point, made.values.dtype) == ("int8", 1, 0, np.int8)
    # 191 and 13.55 steps: -127 + 50 + 63.55 rounds to the sum of the second channel's integers.
    summed = narrow.store_weights(WEIGHTS, "int8", (-127, 127), 1)
    np.testing.assert_array_equal(summed.values.sum(axis=0), [191, -13])


def test_one_scale_for_all_still_keeps_the_sums_of_channels() -> None:
    values = np.array([[7.0, 0.4, 0.4], [0.3, 0.4, 0.4]], np.float32)
    made = narrow.store_weights(values, "int8", (-7, 7), 0, per_channel=False)
    np.testing.assert_allclose(made.scales, [1.0], rtol=1e-6)
    np.testing.assert_array_equal(made.values, [[7, 1, 0], [0, 1, 0]])
    assert made.axis == 0
    assert narrow.store_weights(values.T, "int8", (-7, 7), 1, per_channel=False).axis == 0


def test_blocks_become_rows() -> None:
    values = np.array([[7.0, 1.0, 0.7, -0.1], [0.0, 14.0, 1.4, 0.4]], np.float32)
    made = narrow.store_weights(values, "int8", (-7, 7), 0, block=2, is_summed=False)
    np.testing.assert_allclose(made.scales, [1, 0.1, 2, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(made.values, [[7, 1], [7, -1], [0, 7], [7, 2]])
    assert made.axis == 0
    assert narrow.store_weights(values, "int4", (-7, 7), 0, block=2).dtype == "int4"


def test_int4_scales_may_clip_and_those_of_int8_never_do() -> None:
    values = np.array([[14.0, *[1.0] * 400]], np.float32)
    clipped = narrow.store_weights(values, "int4", (-7, 7), 0)
    assert clipped.scales[0] < 1.2
    np.testing.assert_allclose(narrow.store_weights(values, "int8", (-7, 7), 0).scales, [2.0])
