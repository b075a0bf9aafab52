from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters import rounding
from edgeq.converters.rounding import Moments

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


def moments_of(real: Real, seen: Real) -> Moments:
    return rounding.measure_moments(real.astype(np.float32), seen.astype(np.float32))


def test_moments_are_sums_about_the_mean(inputs: Real) -> None:
    shifted = inputs * 2 + 1
    found = moments_of(shifted, inputs)
    for group in range(2):
        own = np.cov(inputs[group].T, bias=True) * 500
        np.testing.assert_allclose(found.quantized[group], own, rtol=1e-3, atol=0.1)
        np.testing.assert_allclose(found.crossed[group], 2 * own, rtol=1e-3, atol=0.2)
    np.testing.assert_allclose(found.mean_float, 2 * found.mean_quantized + 1, rtol=1e-5)


def test_feedback_makes_smaller_output_errors_than_plain_rounding(
    inputs: Real, weights: Real
) -> None:
    scales = scales_of(weights)
    steps = scales[..., np.newaxis]
    fed = rounding.round_with_feedback(weights, moments_of(inputs, inputs), scales) * steps
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
    moments = moments_of(inputs, inputs)
    fed = rounding.round_with_feedback(weights, moments, scales)
    np.testing.assert_array_equal(fed, one_by_one(weights, moments, scales))


def test_more_inputs_than_a_block_gain_as_much() -> None:
    inputs, weights, scales = wide(192)
    steps = scales[..., np.newaxis]
    fed = rounding.round_with_feedback(weights, moments_of(inputs, inputs), scales) * steps
    plain = rounding.round_plainly(weights, steps) * steps
    # A third would be left if errors stayed inside their block of 64 inputs.
    assert output_error(weights, fed, inputs) < 0.1 * output_error(weights, plain, inputs)


def test_feedback_gives_integers_in_range(inputs: Real, weights: Real) -> None:
    scales = scales_of(weights) / 10  # too small on purpose: most weights do not fit
    found = rounding.round_with_feedback(weights, moments_of(inputs, inputs), scales)
    np.testing.assert_array_equal(found, np.rint(found))
    assert (found.min(), found.max()) == (-127, 127)


def test_independent_inputs_leave_plain_rounding(weights: Real) -> None:
    eye = np.tile(np.eye(24), (2, 1, 1))
    nothing = np.zeros((2, 24))
    found = rounding.round_with_feedback(
        weights, Moments(eye, eye, nothing, nothing, 1000), scales_of(weights)
    )
    np.testing.assert_array_equal(
        found, rounding.round_plainly(weights, scales_of(weights)[..., np.newaxis])
    )


def test_inputs_that_never_change_are_no_obstacle(weights: Real) -> None:
    constant = np.ones((2, 100, 24), np.float32)
    found = rounding.round_with_feedback(
        weights, moments_of(constant, constant), scales_of(weights)
    )
    assert np.isfinite(found).all()


def test_refitting_undoes_a_systematic_error_of_the_inputs(inputs: Real, weights: Real) -> None:
    seen = inputs * np.linspace(0.8, 1.2, 24, dtype=np.float32)
    found = rounding.refit(weights, moments_of(inputs, seen))

    def error(own: Real) -> float:
        wanted = inputs @ weights.transpose(0, 2, 1)
        given = seen @ own.transpose(0, 2, 1)
        lost = wanted - given
        return float(np.mean((lost - lost.mean(axis=1, keepdims=True)) ** 2))

    assert error(found) < 0.1 * error(weights)


def test_refitting_changes_nothing_when_the_inputs_are_right(inputs: Real, weights: Real) -> None:
    np.testing.assert_allclose(
        rounding.refit(weights, moments_of(inputs, inputs)), weights, atol=0.02
    )


def test_clipping_cuts_a_weight_that_costs_the_others_their_steps(inputs: Real) -> None:
    weights = np.random.default_rng(3).normal(scale=0.1, size=(2, 4, 24))
    weights[:, 0, 0] = 1.0
    quiet = inputs.copy()
    quiet[..., 0] *= 1e-3  # and the input it belongs to hardly moves
    full = np.abs(weights).max(axis=-1) / 7
    found = rounding.clip_scales(weights, moments_of(quiet, quiet), full)
    assert (found[:, 0] < full[:, 0]).all()
    assert (found <= full).all()
    assert (found >= 0.7 * full).all()
