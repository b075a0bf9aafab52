from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.corrections import rounding
from edgeq.converters.corrections.rounding import Moments

Real = np.ndarray


@pytest.fixture
def inputs() -> Real:
    """Correlated inputs of two groups, as the channels of real activations are: [2, rows, K]."""
    random = np.random.default_rng(0)
    mixed = random.normal(size=(2, 500, 24)) @ random.normal(size=(2, 24, 24))
    return (mixed + 3).astype(np.float32)


@pytest.fixture
def weights() -> Real:
    """[2, O, K]."""
    return np.random.default_rng(1).normal(size=(2, 6, 24))


def scales_of(weights: Real) -> Real:
    return np.abs(weights).max(axis=-1) / 20  # coarse, so that rounding matters


def output_error(weights: Real, other: Real, inputs: Real) -> float:
    centred = inputs - inputs.mean(axis=1, keepdims=True)
    lost = centred @ (weights - other).transpose(0, 2, 1)
    return float(np.mean(lost**2))


def centred(values: Real) -> Real:
    found: Real = values - values.mean(axis=1, keepdims=True)
    return found.astype(np.float32)


def moments_of(seen: Real, real: Real | None = None) -> Moments:
    return rounding.measure_moments(centred(seen), None if real is None else centred(real))


def test_moments_are_sums_about_the_mean(inputs: Real) -> None:
    found = moments_of(inputs, inputs * 2 + 1)
    assert found.rows == 500
    assert found.crossed is not None
    for group in range(2):
        own = np.cov(inputs[group].T, bias=True) * 500
        np.testing.assert_allclose(found.quantized[group], own, rtol=1e-3, atol=0.1)
        np.testing.assert_allclose(found.crossed[group], 2 * own, rtol=1e-3, atol=0.2)


def test_the_mean_row_is_that_of_each_group(inputs: Real) -> None:
    found = rounding.mean_row(inputs[:, :, :9])
    np.testing.assert_array_equal(found, inputs[:, :, :9].mean(axis=1))


def test_rows_that_are_few_damp_more() -> None:
    # The mean of the diagonal is 3; of it 0.01, and 0.1 times 2 inputs over 20 rows.
    matrix = np.array([[[2.0, 1.0], [1.0, 4.0]]])
    few = Moments(matrix, None, 20)
    assert few.share == pytest.approx(0.02)
    np.testing.assert_allclose(few.damped, [[[2.06, 1.0], [1.0, 4.06]]], rtol=1e-10)
    many = Moments(matrix, None, 2000)
    np.testing.assert_allclose(many.damped, [[[2.0303, 1.0], [1.0, 4.0303]]], rtol=1e-10)
    still = Moments(0 * matrix, None, 20)
    np.testing.assert_allclose(still.damped, [1e-12 * np.eye(2)])


def test_feedback_makes_smaller_output_errors_than_plain_rounding(
    inputs: Real, weights: Real
) -> None:
    scales = scales_of(weights)
    steps = scales[..., np.newaxis]
    fed = rounding.round_with_feedback(weights, moments_of(inputs), scales) * steps
    plain = rounding.round_plainly(weights, steps) * steps
    error, plain_error = (output_error(weights, item, inputs) for item in (fed, plain))
    assert error < 0.6 * plain_error
    # The weights themselves are farther off: it is the outputs that count.
    assert np.mean((weights - fed) ** 2) > np.mean((weights - plain) ** 2)


def wide(count: int) -> tuple[Real, Real, Real]:
    """Inputs that share a few causes, weights and scales of one layer: [1, rows, K], [1, O, K]."""
    random = np.random.default_rng(2)
    mixed = random.normal(size=(1, 400, 12)) @ random.normal(size=(1, 12, count))
    inputs = mixed + random.normal(scale=0.05, size=mixed.shape)
    weights = random.normal(size=(1, 4, count))
    return inputs, weights, scales_of(weights)


def one_by_one(weights: Real, moments: Moments, scales: Real) -> Real:
    """GPTQ as its paper states it first, without blocks: each error goes to all inputs after it."""
    left, rounded = weights.copy(), np.empty_like(weights)
    for group, inverse in enumerate(np.linalg.inv(moments.damped)):
        upper = np.linalg.cholesky(inverse).T
        for k in range(left.shape[-1]):
            rounded[group, :, k] = np.clip(np.rint(left[group, :, k] / scales[group]), -127, 127)
            error = left[group, :, k] - rounded[group, :, k] * scales[group]
            left[group, :, k + 1 :] -= np.outer(error / upper[k, k], upper[k, k + 1 :])
    return rounded


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 150])
def test_every_error_is_carried_to_all_inputs_that_follow(count: int) -> None:
    inputs, weights, scales = wide(count)
    moments = moments_of(inputs)
    fed = rounding.round_with_feedback(weights, moments, scales)
    np.testing.assert_array_equal(fed, one_by_one(weights, moments, scales))


def test_more_inputs_than_a_block_gain_as_much() -> None:
    inputs, weights, scales = wide(192)
    steps = scales[..., np.newaxis]
    fed = rounding.round_with_feedback(weights, moments_of(inputs), scales) * steps
    plain = rounding.round_plainly(weights, steps) * steps
    # A third would be left if errors stayed inside their block of 64 inputs.
    assert output_error(weights, fed, inputs) < 0.1 * output_error(weights, plain, inputs)


def test_feedback_gives_integers_in_range(inputs: Real, weights: Real) -> None:
    scales = scales_of(weights) / 10  # too small on purpose: most weights do not fit
    found = rounding.round_with_feedback(weights, moments_of(inputs), scales)
    np.testing.assert_array_equal(found, np.rint(found))
    assert (found.min(), found.max()) == (-127, 127)


def test_independent_inputs_leave_plain_rounding(weights: Real) -> None:
    eye = np.tile(np.eye(24), (2, 1, 1))
    found = rounding.round_with_feedback(weights, Moments(eye, None, 1000), scales_of(weights))
    np.testing.assert_array_equal(
        found, rounding.round_plainly(weights, scales_of(weights)[..., np.newaxis])
    )


def test_inputs_that_never_change_are_no_obstacle(weights: Real) -> None:
    constant = np.ones((2, 100, 24), np.float32)
    found = rounding.round_with_feedback(weights, moments_of(constant), scales_of(weights))
    assert np.isfinite(found).all()


def test_refitting_undoes_a_systematic_error_of_the_inputs(inputs: Real, weights: Real) -> None:
    seen = inputs * np.linspace(0.8, 1.2, 24, dtype=np.float32)
    found = rounding.refit(weights, moments_of(seen, inputs))

    def error(own: Real) -> float:
        wanted = inputs @ weights.transpose(0, 2, 1)
        given = seen @ own.transpose(0, 2, 1)
        lost = wanted - given
        return float(np.mean((lost - lost.mean(axis=1, keepdims=True)) ** 2))

    assert error(found) < 0.1 * error(weights)


def test_refitting_changes_nothing_when_the_inputs_are_right(inputs: Real, weights: Real) -> None:
    np.testing.assert_allclose(
        rounding.refit(weights, moments_of(inputs, inputs)),
        weights,
        atol=0.02,
    )


def test_clipping_cuts_a_weight_that_costs_the_others_their_steps(inputs: Real) -> None:
    weights = np.random.default_rng(3).normal(scale=0.1, size=(2, 4, 24))
    weights[:, 0, 0] = 1.0
    quiet = inputs.copy()
    quiet[..., 0] *= 1e-3  # and the input it belongs to changes very little
    full = np.abs(weights).max(axis=-1) / 7
    found = rounding.clip_scales(weights, moments_of(quiet), full)
    assert (found[:, 0] < full[:, 0]).all()
    assert (found <= full).all()
    assert (found >= 0.7 * full).all()


def test_each_smaller_scale_is_tried_and_the_best_one_wins() -> None:
    # A weight of 0.9 is one step of 0.9, and 0.1 off one step of 1; zeros fit every scale.
    shares = np.array([1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7])
    weights = np.concatenate([shares, [0.0]]).reshape(1, 8, 1) * 5
    one = np.ones((1, 1, 1))
    moments = Moments(one, None, 100)
    found = rounding.clip_scales(weights, moments, np.full((1, 8), 5.0))
    np.testing.assert_allclose(found[0], [5, 4.75, 4.5, 4.25, 4, 3.75, 3.5, 5])
    # Nearer to 1 than to 0.95; and as far from 0.85 as from 0.8, which is a tie.
    found = rounding.clip_scales(np.array([[[0.976], [0.825]]]), moments, np.ones((1, 2)))
    np.testing.assert_allclose(found[0], [1, 0.85])


def test_four_bits_saturate_at_seven_and_their_scales_grow_where_that_helps(inputs: Real) -> None:
    weights = np.random.default_rng(4).normal(size=(2, 6, 24))
    moments = moments_of(inputs)
    narrow = np.abs(weights).max(axis=-1) / 14  # half of what covers the largest weight
    found = rounding.clip_scales(weights, moments, narrow, 7)
    np.testing.assert_allclose(found, 1.4 * narrow)
    for made in (
        rounding.round_with_feedback(weights, moments, found, 7),
        rounding.round_plainly(weights, found[..., np.newaxis], 7),
    ):
        assert np.abs(made).max() == 7
    wide = 2 * narrow
    found = rounding.clip_scales(weights, moments, wide, 7)
    assert (found >= 0.6 * wide).all() and (found < wide).any()
    errors = [
        output_error(weights, f(weights, *rest) * wide[..., np.newaxis], inputs)
        for f, rest in (
            (rounding.round_with_feedback, (moments, wide, 7)),
            (rounding.round_plainly, (wide[..., np.newaxis], 7)),
        )
    ]
    assert errors[0] < 0.75 * errors[1]


@pytest.mark.parametrize(("energy", "share"), [([400.0, 1.0], 0.95), ([1.0, 400.0], 0.7)])
def test_an_error_counts_as_much_as_its_input_varies(energy: list[float], share: float) -> None:
    # With scale 1, 0.95 and 0.7 are off by 0.05 and 0.3; with 0.95, by 0 and 0.25; with 0.7, by
    # 0.25 and 0.
    varied = np.diag(energy)[np.newaxis]
    moments = Moments(varied, None, 100)
    found = rounding.clip_scales(np.array([[[0.95, 0.7]]]), moments, np.ones((1, 1)))
    np.testing.assert_allclose(found, [[share]])


def test_weights_are_clipped_to_127_either_way() -> None:
    found = rounding.round_plainly(np.array([-128.6, -127.4, 0.4, 126.6, 128.0]), np.ones(5))
    assert found.tolist() == [-127, -127, 0, 127, 127]
